"""The fixed prompts that models are timed on: plain code, the same for every model.

Lengths are in the tokens of a typical code tokenizer; what is counted is what the model's own
tokenizer makes of them.
"""

from __future__ import annotations

from lichen.completion import Request

_HEADER = '''"""Bookkeeping for a small library: members, books and loans."""

from dataclasses import dataclass, field
from datetime import date, timedelta

'''

_FUNCTIONS = (
    '''
def overdue(loans, today):
    """Return the loans whose due date lies before today, the oldest first."""
    late = [loan for loan in loans if loan.due < today and not loan.returned]
    return sorted(late, key=lambda loan: loan.due)
''',
    '''
def average_rating(ratings):
    """Mean of the ratings, or None when nobody has rated the book yet."""
    if not ratings:
        return None
    return sum(ratings) / len(ratings)
''',
    '''
def group_by_author(books):
    """Map every author to the titles of their books in alphabetical order."""
    shelves = {}
    for book in books:
        shelves.setdefault(book.author, []).append(book.title)
    return {author: sorted(titles) for author, titles in shelves.items()}
''',
    '''
def fine(days_late, rate=0.25, limit=10.0):
    """Fine for a late book: so much a day, but never more than the limit."""
    return min(limit, max(0, days_late) * rate)
''',
)

#: Starts that go on for long: lists which a model keeps extending.
_STARTS = (
    "# The first hundred square numbers\nsquares = [0, 1, 4, 9, 16, 25, 36, 49,",
    "# Every month with its number\nmonths = {\n    'January': 1,\n    'February': 2,\n",
    "# Test cases for add(a, b)\nassert add(1, 1) == 2\nassert add(1, 2) == 3\nassert add(2, 2) ==",
)

_TOPICS = (
    "reverse a string", "count the vowels in a text", "find the largest of three numbers",
    "test whether a number is prime", "sum the digits of an integer", "merge two sorted lists",
    "remove duplicates but keep the order", "compute a factorial", "flatten a nested list",
    "count how often each word occurs", "convert Celsius to Fahrenheit", "find the second largest",
    "check for balanced brackets", "transpose a matrix", "find common elements of two lists",
    "compute the greatest common divisor",
)  # fmt: skip


def short(count: int) -> list[Request]:
    """Prompts of a few tokens, one token to generate."""
    return [Request(start, max_tokens=1) for start in _cycle(_STARTS, count)]


def first_token(count: int) -> list[Request]:
    """Different prompts of about 128 tokens; one token to generate."""
    return [
        Request(_HEADER + _rotated(i)[0] + "\n\n" + _rotated(i)[1], max_tokens=1)
        for i in range(count)
    ]


def prefill(count: int) -> list[Request]:
    """Different prompts of about 450 tokens; one token to generate."""
    return [Request(_HEADER + "\n".join(_rotated(i) * 2), max_tokens=1) for i in range(count)]


def decode(count: int, tokens: int) -> list[Request]:
    """Short prompts with this many tokens to generate."""
    return [Request(start, max_tokens=tokens) for start in _cycle(_STARTS, count)]


def batch() -> list[Request]:
    """Sixteen prompts like those of a task set, 32 tokens each to generate."""
    return [
        Request(f'def solve(value):\n    """Write code to {topic}, with care."""\n', max_tokens=32)
        for topic in _TOPICS
    ]


def _cycle(items: tuple[str, ...], count: int) -> list[str]:
    return [items[i % len(items)] for i in range(count)]


def _rotated(start: int) -> list[str]:
    """The functions in another order each time, so that no two prompts share much."""
    start %= len(_FUNCTIONS)
    return [*_FUNCTIONS[start:], *_FUNCTIONS[:start]]
