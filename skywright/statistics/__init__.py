"""Intervals for ratios, differences, means and proportions: numpy and scipy only."""

from skywright.statistics.bootstrap import ratio_bootstrap
from skywright.statistics.estimate import Estimate
from skywright.statistics.intervals import (
    mean_of,
    paired_ratio_difference,
    perplexity,
    proportion_interval,
    ratio_difference,
    ratio_interval,
)

__all__ = [
    "Estimate",
    "mean_of",
    "paired_ratio_difference",
    "perplexity",
    "proportion_interval",
    "ratio_bootstrap",
    "ratio_difference",
    "ratio_interval",
]
