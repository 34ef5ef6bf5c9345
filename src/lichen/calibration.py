"""Calibration text: what a model reads while its inputs are measured.

Code by default: calibrating on prose loses more of a code model, at few bits by far
(arXiv 2503.07103).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from lichen import code_text
from lichen.code_text import CodeText
from lichen.errors import InputError

Ints = npt.NDArray[np.int32]

#: Long-lived modules of the standard library, of many kinds of code: parsers, protocols, numbers,
#: data structures, concurrency, tools.  None that divergence is measured on.
_MODULES = """
    _pydecimal _pyio _strptime argparse ast asyncio/base_events asyncio/locks asyncio/queues
    asyncio/streams asyncio/tasks base64 bdb calendar cmd code codecs collections/__init__
    concurrent/futures/_base concurrent/futures/process configparser contextlib copy dataclasses
    dis doctest email/feedparser email/generator email/message enum filecmp fileinput fractions
    ftplib functools getopt gettext graphlib gzip hashlib html/parser http/client http/cookiejar
    http/server imaplib inspect ipaddress json/decoder json/encoder locale logging/__init__
    logging/handlers mailbox mimetypes multiprocessing/pool multiprocessing/queues numbers optparse
    pdb pickle pickletools pkgutil platform plistlib posixpath pprint pstats pyclbr queue random
    re/_compiler re/_parser reprlib sched selectors shutil smtplib socketserver statistics
    subprocess tarfile tempfile threading timeit tokenize tomllib/_parser trace traceback turtle
    types typing unittest/case unittest/loader unittest/mock urllib/parse urllib/request uuid
    warnings wave weakref webbrowser xml/dom/minidom xml/etree/ElementTree xmlrpc/client zipapp
"""
MODULES = tuple(_MODULES.split())


def standard_library() -> CodeText:
    """Those of `MODULES` that the running interpreter has."""
    present = [module for module in MODULES if code_text.library_file(module).is_file()]
    documents = code_text.standard_library(present or MODULES)
    return CodeText(code_text.library_name(f"{len(present)} modules"), documents)


def sequences(
    text: CodeText,
    encode: Callable[[Sequence[str]], Sequence[Sequence[int]]],
    *,
    count: int,
    length: int,
    seed: int,
    bos: int | None = None,
) -> list[Ints]:
    """``count`` different pieces of the text, of ``length`` tokens each, drawn with ``seed``.

    Documents take turns, in random order, and every other one begins with its beginning, the rest
    elsewhere: at first a model knows no names yet, and more of what it reads is prose.  What whole
    pieces leave of the documents is joined and comes last of a turn.  Fewer of the same seed are
    the first of more.  ``encode`` gives the tokens of each document alone; ``bos``, for models that
    want one, begins every piece and counts as one of its tokens.  InputError when there is not
    enough text.
    """
    begin = [] if bos is None else [bos]
    own = length - len(begin)
    documents = [np.array(ids, np.int32) for ids in encode(text.documents)]
    tokens = sum(map(len, documents))
    turns = _turns(documents, own, np.random.default_rng(seed))
    windows = sum(map(len, turns))
    if not windows:
        raise InputError(
            f"calibration text {text.name} has {tokens} tokens, one sequence needs {own};"
            " give more text or a shorter --calibration-length."
        )
    if windows < count:
        raise InputError(
            f"calibration text {text.name} has {tokens} tokens, enough for {windows} sequences of"
            f" {length}, not {count}; give more text or ask for fewer or shorter ones."
        )
    drawn = [piece for turn in zip_longest(*turns) for piece in turn if piece is not None]
    return [np.append(begin, piece).astype(np.int32) for piece in drawn[:count]]


def _turns(documents: Sequence[Ints], own: int, random: np.random.Generator) -> list[list[Ints]]:
    """The pieces of each document, documents and pieces in the order of their turns."""
    turns = []
    for turn, number in enumerate(random.permutation(len(documents))):
        document = documents[number]
        pieces = [document[i : i + own] for i in range(0, len(document) - own + 1, own)]
        others = [pieces[i] for i in random.permutation(np.arange(1, len(pieces)))]
        turns.append([*others[: turn % 2], *pieces[:1], *others[turn % 2 :]])
    rests = [document[len(document) // own * own :] for document in documents]
    joined = np.concatenate(rests) if rests else np.empty(0, np.int32)
    order = random.permutation(len(joined) // own)
    return [*turns, [joined[i * own : (i + 1) * own] for i in order]]
