"""What a training run will need, before it runs: memory, time, cost. Nothing here is run."""

from skywright.planner.hardware import HardwareConfig, load_hardware, measure_machine
from skywright.planner.layout import LayoutConfig, Workload, parse_layout
from skywright.planner.presets import PlannedRun, load_preset

__all__ = [
    "HardwareConfig",
    "LayoutConfig",
    "PlannedRun",
    "Workload",
    "load_hardware",
    "load_preset",
    "measure_machine",
    "parse_layout",
]
