"""An event loop in a thread of its own.

The caller may have a loop already (a notebook), and Ctrl-C must reach it at once, whatever a
server does: it waits for a queue or a future here, not for a socket.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

#: How long the end waits for connections to be closed before it leaves them to the process's end.
PARTING_SECONDS = 2.0


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A running loop; what still runs on it at the end is cancelled."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="lichen-remote", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        parting = asyncio.run_coroutine_threadsafe(_cancel_all(), loop)
        parting.add_done_callback(lambda _: loop.call_soon_threadsafe(loop.stop))
        thread.join(PARTING_SECONDS)
        if not thread.is_alive():
            loop.close()


def complete(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that runs on a loop of its own."""
    with event_loop() as loop:
        return asyncio.run_coroutine_threadsafe(work, loop).result()


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
