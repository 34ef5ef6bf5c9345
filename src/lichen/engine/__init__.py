"""Runs graphs natively: compiled plans, a paged key-value cache, batches of ragged sequences."""

from lichen.engine.generation import Generation
from lichen.engine.scheduler import Engine

__all__ = ["Engine", "Generation"]
