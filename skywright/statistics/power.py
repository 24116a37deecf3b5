"""What a sample can see: the smallest difference it detects, and how large it would have to be."""

from __future__ import annotations

import math

from scipy.special import ndtri, stdtrit

from skywright.statistics.estimate import Estimate, check_level


def detectable_difference(
    standard_error: float, freedom: float, level: float = 0.95, power: float = 0.8
) -> float:
    """The true difference that a two-sided test at `level` calls with probability `power`.

    (t quantile of (1+level)/2 + t quantile of power) * standard error, with `freedom` degrees
    of freedom (Bloom 1995, Evaluation Review 19, 547-556). Infinite where there is no standard
    error. It says what a "cannot tell" excludes: differences much larger than this one.
    """
    check_level(level)
    check_level(power)
    if not freedom > 0 or math.isnan(standard_error):
        return math.inf
    quantiles = stdtrit(freedom, (1 + level) / 2) + stdtrit(freedom, power)
    return float(quantiles) * standard_error


def units_needed(
    estimate: Estimate, difference: float, level: float = 0.95, power: float = 0.8
) -> int:
    """How many units would detect `difference`, judged by a difference already estimated.

    n * ((z quantile of (1+level)/2 + z quantile of power) * SE / difference)^2, rounded up. For
    an estimate over several domains: units in all, shared between domains as they are now.
    """
    check_level(level)
    check_level(power)
    if not difference > 0:
        raise ValueError(f"the difference to detect must be positive, got {difference}")
    if math.isnan(estimate.standard_error):
        raise ValueError("an estimate without a standard error cannot tell how many units it takes")
    quantiles = float(ndtri((1 + level) / 2) + ndtri(power))
    return math.ceil(estimate.n * (quantiles * estimate.standard_error / difference) ** 2)
