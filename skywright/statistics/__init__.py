"""Intervals, paired tests, rankings and their multiplicity: numpy and scipy only."""

from skywright.statistics.aggregate import Aggregates, aggregates, domain_macro, mean_over_domains
from skywright.statistics.coverage import Coverage, interval_coverage, sequence_coverage
from skywright.statistics.estimate import Estimate
from skywright.statistics.intervals import (
    paired_ratio_difference,
    perplexity,
    proportion_interval,
    ratio_difference,
    ratio_interval,
)
from skywright.statistics.multiple import holm
from skywright.statistics.noninferiority import DomainHarm, NonInferiority, non_inferiority
from skywright.statistics.paired import Comparison, Difference, paired_comparison
from skywright.statistics.power import detectable_difference, units_needed
from skywright.statistics.ranking import Leaderboard, PairDifference, Standing, leaderboard
from skywright.statistics.sequential import ConfidenceSequence, paired_sequence, random_order
from skywright.statistics.stability import Interaction, Period, Stability, ranking_stability
from skywright.statistics.studentised import ratio_studentised

__all__ = [
    "Aggregates",
    "Comparison",
    "ConfidenceSequence",
    "Coverage",
    "Difference",
    "DomainHarm",
    "Estimate",
    "Interaction",
    "Leaderboard",
    "NonInferiority",
    "PairDifference",
    "Period",
    "Stability",
    "Standing",
    "aggregates",
    "detectable_difference",
    "domain_macro",
    "holm",
    "interval_coverage",
    "leaderboard",
    "mean_over_domains",
    "non_inferiority",
    "paired_comparison",
    "paired_ratio_difference",
    "paired_sequence",
    "perplexity",
    "proportion_interval",
    "random_order",
    "ranking_stability",
    "ratio_difference",
    "ratio_interval",
    "ratio_studentised",
    "sequence_coverage",
    "units_needed",
]
