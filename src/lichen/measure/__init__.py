"""What a model costs: time, memory, energy and carbon, as readings that name their source."""

from lichen.measure.carbon import Grid, grid
from lichen.measure.energy import PowerModel, power_model
from lichen.measure.footprint import assumptions, footprint
from lichen.measure.machine import MachineFields, Processor, machine, processor
from lichen.measure.probe import measure_model
from lichen.measure.reading import Reading
from lichen.measure.size import size_on_disk

__all__ = [
    "Grid",
    "MachineFields",
    "PowerModel",
    "Processor",
    "Reading",
    "assumptions",
    "footprint",
    "grid",
    "machine",
    "measure_model",
    "power_model",
    "processor",
    "size_on_disk",
]
