"""The command line, one file per subcommand.  Nothing else in lichen prints."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

#: Done, rejected, undecided: a run came to its end.
_ENDED = (0, 1, 3)


def start() -> NoReturn:
    """The entry point of the installed command: Ctrl-C is answered even while it is importing.

    So is a system that stops us: what is being written is cleaned up, pip and other children end.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from lichen.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        print("lichen: interrupted.", file=sys.stderr)
        code = 130
    if code not in _ENDED:
        # Everything is cleaned up.  An ordinary exit would wait for threads in the middle of
        # something that nobody wants any more: hashing a model, asking a name server.
        os._exit(code)
    sys.exit(code)
