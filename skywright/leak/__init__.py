"""Was a benchmark in training? Look-alikes, differences of loss with intervals, and a verdict."""

from skywright.leak.config import LeakConfig
from skywright.leak.step import run

__all__ = ["LeakConfig", "run"]
