"""Functions of plain values."""

import json
import re

SEPARATOR = "-"
_MISSING = object()


def slug(text):
    """Lower-case words joined by the separator: "Hello, World!" -> "hello-world"."""
    words = _words(text)
    return SEPARATOR.join(word.lower() for word in words)


def _words(text):
    return re.findall(r"\w+", text)


def initials(name: str, dots: bool = False) -> str:
    # what a library card shows
    mark = "." if dots else ""
    return "".join(word[0].upper() + mark for word in _words(name))


def first(items, default=_MISSING):
    """The first of the items, or the default; IndexError when there is neither.

    >>> first("ab")
    'a'
    """
    for item in items:
        return item
    if default is _MISSING:
        raise IndexError("no items")
    return default


def pairs(items):
    """Each item with the one behind it."""
    before = None
    for number, item in enumerate(items):
        if number:
            yield before, item
        before = item


def depth(tree):
    """How deeply lists are nested."""
    if not isinstance(tree, list):
        return 0
    return 1 + max((depth(part) for part in tree), default=0)


def save(path, lines):
    """Write the lines as JSON."""
    text = json.dumps(list(lines))
    path.write_text(text)


def guess(text):
    """A number from the text."""
    digits = re.sub(r"\D", "", text)
    return int(digits)


def unused(text):
    """Nobody tests this."""
    text = text.strip()
    return text.title()


def version():
    return "1.0"


async def fetch(name):
    """Asynchronous functions are left out."""
    return _words(name) or [name]
