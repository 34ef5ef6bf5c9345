"""A class, and an exception of its own."""

from __future__ import annotations


class FullError(Exception):
    """Nothing more fits."""


class Box:
    """Holds items up to a weight."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.items: list[tuple[str, int]] = []

    @property
    def weight(self) -> int:
        """The weight of all items."""
        return sum(weight for _, weight in self.items)

    def put(self, name: str, weight: int) -> Box:
        """Put an item in, or raise FullError; gives the box."""
        if self.weight + weight > self.limit:
            raise FullError(name)
        self.items.append((name, weight))
        return self

    def __len__(self) -> int:
        return len(self.items)


def heaviest(box: Box) -> str:
    """The name of the heaviest item."""
    return max(box.items, key=lambda item: item[1])[0]
