"""Training: a plan's samples in, checkpoints, metrics and Hugging Face folders out."""

from skywright.train.config import (
    OptimizerConfig,
    ScheduleConfig,
    SegmentConfig,
    TrainConfig,
)
from skywright.train.guard import GuardConfig
from skywright.train.loop import train
from skywright.train.optimizer import check_layout
from skywright.train.signals import Stopped
from skywright.train.watch import MonitorConfig, Watcher
from skywright.train.watchdog import HANG_EXIT

__all__ = [
    "HANG_EXIT",
    "GuardConfig",
    "MonitorConfig",
    "OptimizerConfig",
    "ScheduleConfig",
    "SegmentConfig",
    "Stopped",
    "TrainConfig",
    "Watcher",
    "check_layout",
    "train",
]
