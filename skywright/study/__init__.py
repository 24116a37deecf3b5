"""Experiments that start from one checkpoint."""

from skywright.study.branch import TrainBranch, branch_start, run
from skywright.study.config import StudyConfig

__all__ = ["StudyConfig", "TrainBranch", "branch_start", "run"]
