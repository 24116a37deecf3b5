"""What a device can do: data sheets and measurements, every figure with its source."""

from skywright.planner.hardware.config import HardwareConfig, load_hardware
from skywright.planner.hardware.measure import measure_machine

__all__ = ["HardwareConfig", "load_hardware", "measure_machine"]
