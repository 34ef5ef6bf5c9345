"""What a model costs: time, memory, energy and carbon, as readings that name their source."""

from lichen.measure.bench import Workload, measure_speeds
from lichen.measure.carbon import Grid, grid
from lichen.measure.energy import PowerModel, power_model
from lichen.measure.footprint import assumptions, footprint
from lichen.measure.limits import measure_limits
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
    "Workload",
    "assumptions",
    "footprint",
    "grid",
    "machine",
    "measure_limits",
    "measure_model",
    "measure_speeds",
    "power_model",
    "processor",
    "size_on_disk",
]
