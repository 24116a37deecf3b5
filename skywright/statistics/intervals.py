"""Closed-form intervals: linearised ratios (t), differences, Wilson.

A loss over a set of documents is a ratio of sums, such as nats over bytes. The unit of sampling
is the document (or a cluster of documents: a page, an author, a repository), never the token:
tokens of one document depend on each other. The standard error is the linearised one of the
ratio estimator (Cochran, Sampling Techniques, 3rd ed. 1977, section 6.4, without the correction
for a finite population).

The t quantile's degrees of freedom are those of the variance as it was estimated: where a few
units carry most of it, fewer than n - 1 (`variance_freedom`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

from skywright.statistics.estimate import Estimate, Floats, check_level, vector, weights_of


def t_interval(value: float, se: float, freedom: float, n: int, level: float) -> Estimate:
    """value ± se * t quantile with `freedom` degrees of freedom; infinite where there are none."""
    if not freedom > 0 or math.isnan(se):
        return Estimate(value, -math.inf, math.inf, math.nan, n)
    half = float(stdtrit(freedom, (1 + level) / 2)) * se
    return Estimate(value, value - half, value + half, se, n)


def variance_freedom(residuals: Floats) -> Floats:
    """Degrees of freedom of the variance estimated from residuals: (units, ...) -> (...).

    2n / (k - (n - 3)/(n - 1)), the variance's own relative accuracy by Satterthwaite's rule, where
    k is the residuals' kurtosis n * sum e^4 / (sum e^2)^2 (O'Neill 2014, The American Statistician
    68, 282-296), and at most n - 1, which is what normal ones (k = 3) have. 0 for a single unit.
    """
    n = len(residuals)
    if n < 2:
        return np.zeros(residuals.shape[1:])
    squares = np.square(residuals)
    total = squares.sum(axis=0)
    shares = squares / np.where(total > 0, total, 1.0)  # first, so that nothing underflows
    kurtosis = n * np.square(shares).sum(axis=0)
    found = 2 * n / np.maximum(kurtosis - (n - 3) / (n - 1), 2 * n / (n - 1))
    return np.asarray(found, dtype=np.float64)


def welch(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances (Welch 1947, Satterthwaite 1946)."""
    if min(freedoms) < 1:
        return 0.0
    total = sum(variances)
    if total == 0:
        return float(sum(freedoms))
    return float(total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True)))


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """sum(numerators) / sum(denominators) with a t interval.

    `numerators`, `denominators`: one number a document, shape (n,). `clusters`: a label a
    document; documents with equal labels count as one unit. With residuals
    e = numerator - value * denominator, SE = sqrt(n/(n-1) * sum over units (sum e)^2) /
    sum(denominators), and t has their `variance_freedom`. Raises ValueError on bad input.
    """
    return _ratio(numerators, denominators, clusters, level)[0]


def ratio_difference(
    numerators_a: ArrayLike,
    denominators_a: ArrayLike,
    numerators_b: ArrayLike,
    denominators_b: ArrayLike,
    clusters_a: ArrayLike | None = None,
    clusters_b: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Ratio of sample a minus ratio of sample b, for two independent sets of documents.

    Variances add; the degrees of freedom are Welch's. `n` is the number of units in both.
    """
    a, freedom_a = _ratio(numerators_a, denominators_a, clusters_a, level)
    b, freedom_b = _ratio(numerators_b, denominators_b, clusters_b, level)
    variances = [a.standard_error**2, b.standard_error**2]
    freedom = welch(variances, [freedom_a, freedom_b])
    return t_interval(a.value - b.value, math.sqrt(sum(variances)), freedom, a.n + b.n, level)


def _ratio(
    numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike | None, level: float
) -> tuple[Estimate, float]:
    """`ratio_interval` and its degrees of freedom."""
    check_level(level)
    top = vector(numerators, "numerators")
    bottom = weights_of(denominators, top)
    total = float(bottom.sum())
    value = float(top.sum()) / total
    residuals = top - value * bottom
    if clusters is not None:
        labels = np.asarray(clusters)
        if labels.shape != top.shape:
            raise ValueError(f"{top.size} documents but clusters of shape {labels.shape}")
        _, index = np.unique(labels, return_inverse=True)
        residuals = np.bincount(index, weights=residuals).astype(np.float64)
    n = residuals.size
    se = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / total if n > 1 else math.nan
    freedom = float(variance_freedom(residuals))
    return t_interval(value, se, freedom, n, level), freedom


def paired_ratio_difference(
    numerators_a: ArrayLike,
    numerators_b: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Ratio of model a minus ratio of model b on the same documents, with a paired t interval.

    The interval is that of the per-document differences, so what makes a document hard for
    both models cancels out.
    """
    a, b = vector(numerators_a, "numerators_a"), vector(numerators_b, "numerators_b")
    if a.shape != b.shape:
        raise ValueError(f"{a.size} documents of model a but {b.size} of model b: not the same set")
    return ratio_interval(a - b, denominators, clusters, level)


def perplexity(nats: Estimate) -> Estimate:
    """exp of a loss in nats a token, interval bounds included.

    Of a mean over domains it gives the geometric mean of the domains' perplexities, which is
    the average column of the Skywork-13B report's Table 6. The standard error is the delta
    method's. A loss without a lower bound leaves its perplexity without one: -inf, not 0.
    """

    def grown(number: float) -> float:
        if number == -math.inf:
            return number
        return math.exp(number) if number < 700 else math.inf  # exp(710) overflows a float64

    value = grown(nats.value)
    return Estimate(value, grown(nats.low), grown(nats.high), value * nats.standard_error, nats.n)


def proportion_interval(successes: int, n: int, level: float = 0.95) -> Estimate:
    """successes / n with Wilson's score interval (Wilson 1927), which never leaves 0..1."""
    check_level(level)
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n} items is not a proportion")
    z = float(ndtri((1 + level) / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the formula meets the edge exactly; rounding must not leave it.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Estimate(share, low, high, math.sqrt(share * (1 - share) / n), n)
