"""Training: a plan's samples in, checkpoints, metrics and Hugging Face folders out."""

from skywright.train.config import (
    OptimizerConfig,
    ScheduleConfig,
    SegmentConfig,
    TrainConfig,
)
from skywright.train.loop import train

__all__ = ["OptimizerConfig", "ScheduleConfig", "SegmentConfig", "TrainConfig", "train"]
