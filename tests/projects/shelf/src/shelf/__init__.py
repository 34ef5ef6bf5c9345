"""A small project with a suite of its own: what `repo:` is tried on."""

from shelf.boxes import Box, FullError
from shelf.text import first, initials, pairs, slug

__all__ = ["Box", "FullError", "first", "initials", "pairs", "slug"]
