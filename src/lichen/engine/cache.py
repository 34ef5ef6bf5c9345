"""Bookkeeping of the paged key-value cache: which page holds which tokens of which sequences.

Memory is cut into pages of a fixed number of tokens.  A full page is known by its tokens and the
page before it, so prompts that begin alike (a chat preamble, samples of one prompt) share pages and
compute them once.  Pages that no sequence uses any more stay until their memory is needed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

_ROOT = 0


@dataclass
class PageTable:
    """The pages of one sequence, and how far they are known for sharing."""

    pages: list[int] = field(default_factory=list)
    shared_tokens: int = 0
    _chain: int = _ROOT
    _known: int = 0


class PagePool:
    """Hands pages out, counts their users, and finds those that already hold a prefix."""

    def __init__(self, pages: int, page_tokens: int) -> None:
        self.page_tokens = page_tokens
        self._free = list(range(pages - 1, -1, -1))
        self._users = [0] * pages
        self._total = pages
        self._serial = _ROOT
        # (serial of the page before, tokens) -> page; serials are never used twice, so an entry
        # whose predecessor was evicted can never be found again.
        self._index: dict[tuple[int, tuple[int, ...]], int] = {}
        self._key: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._serial_of: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def total(self) -> int:
        """All pages, used or not."""
        return self._total

    @property
    def available(self) -> int:
        """Pages that can be had: free ones, and idle ones kept for sharing."""
        return len(self._free) + len(self._idle)

    def pages_for(self, tokens: int) -> int:
        """Pages that ``tokens`` tokens need."""
        return -(-tokens // self.page_tokens)

    def open(self, prompt: Sequence[int], capacity: int) -> PageTable | None:
        """Pages for a sequence of up to ``capacity`` tokens; None while memory is short.

        Leading full pages of the prompt that are known already are shared; at least the last
        token of the prompt is always left to compute, since its logits are wanted.
        """
        shared, chain = self._match(prompt)
        fresh = self.pages_for(capacity) - len(shared)
        reserve = sum(1 for page in shared if page in self._idle)
        if fresh > self.available - reserve:
            return None
        for page in shared:
            self._use(page)
        pages = shared + [self._take() for _ in range(fresh)]
        return PageTable(pages, len(shared) * self.page_tokens, chain, len(shared))

    def publish(self, table: PageTable, tokens: Sequence[int], computed: int) -> None:
        """Make the full pages among the first ``computed`` tokens known to others."""
        size = self.page_tokens
        while (table._known + 1) * size <= computed:
            begin = table._known * size
            key = (table._chain, tuple(tokens[begin : begin + size]))
            page = self._index.setdefault(key, table.pages[table._known])
            if page == table.pages[table._known]:
                self._serial += 1
                self._key[page] = key
                self._serial_of[page] = self._serial
            table._chain = self._serial_of[page]
            table._known += 1

    def close(self, table: PageTable, computed: int) -> None:
        """Give the pages back; known ones stay findable until their memory is needed.

        Those that were made known beyond the first ``computed`` tokens hold nothing, and nobody
        finds them any more.
        """
        for page in table.pages[computed // self.page_tokens :]:
            self._forget(page)
        for page in reversed(table.pages):
            self._users[page] -= 1
            if self._users[page] == 0:
                if page in self._key:
                    self._idle[page] = None
                else:
                    self._free.append(page)
        table.pages = []

    def _match(self, prompt: Sequence[int]) -> tuple[list[int], int]:
        size, chain = self.page_tokens, _ROOT
        pages: list[int] = []
        while (len(pages) + 1) * size < len(prompt):
            begin = len(pages) * size
            page = self._index.get((chain, tuple(prompt[begin : begin + size])))
            if page is None:
                break
            pages.append(page)
            chain = self._serial_of[page]
        return pages, chain

    def _use(self, page: int) -> None:
        self._users[page] += 1
        self._idle.pop(page, None)

    def _take(self) -> int:
        if not self._free:
            oldest, _ = self._idle.popitem(last=False)
            self._forget(oldest)
            self._free.append(oldest)
        page = self._free.pop()
        self._users[page] = 1
        return page

    def _forget(self, page: int) -> None:
        if page in self._key:
            del self._index[self._key.pop(page)]
            del self._serial_of[page]
