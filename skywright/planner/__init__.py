"""What a training run will need, before it runs: memory, time, cost. Nothing here is run."""

from skywright.parallel.config import ParallelConfig, parse_layout
from skywright.planner.hardware import HardwareConfig, load_hardware, measure_machine
from skywright.planner.presets import PlannedRun, load_preset
from skywright.planner.workload import Workload

__all__ = [
    "HardwareConfig",
    "ParallelConfig",
    "PlannedRun",
    "Workload",
    "load_hardware",
    "load_preset",
    "measure_machine",
    "parse_layout",
]
