"""Runs graphs natively: compiled plans, a paged key-value cache, batches of ragged sequences."""

from lichen.engine.scheduler import Engine, Generation

__all__ = ["Engine", "Generation"]
