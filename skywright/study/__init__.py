"""Experiments that start from one checkpoint."""

from skywright.study.branch import TrainBranch, run
from skywright.study.config import StudyConfig

__all__ = ["StudyConfig", "TrainBranch", "run"]
