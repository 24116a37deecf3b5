"""The studentised (bootstrap-t) interval: units drawn anew within each domain.

Each draw weights a domain's units by a multinomial vector and computes, from five sums, both
the aggregate's shift and its standard error in that draw. Their quotient stands in for the t
distribution (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5; Davison
& Hinkley, Bootstrap Methods and their Application, 1997, sections 2.4 and 3.2). Where lengths
have a long tail it covers better than the t interval, since it sees the skewness.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from skywright.statistics import bootstrap
from skywright.statistics.estimate import Estimate, Floats, check_level, vector
from skywright.statistics.linear import Aggregate, Linear, linearise, micro_ratios
from skywright.statistics.units import Stratum, sizes_of, strata_of

DRAWS = 10_000
"""Draws of an interval: the 2.5th percentile then lies within .16 of a percentile (binomial)."""

_NO_SPREAD = 1e-12  # of the closed-form variance: below it a draw's variance is rounding


def ratio_studentised(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike | None = None,
    domains: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """sum(numerators) / sum(denominators) with a studentised bootstrap interval.

    Numbers and labels one a document, shape (n,); numerators may be differences of two models.
    Clusters are drawn with replacement, within each domain. The standard error is the
    closed-form one. Memory does not grow with `draws`. Two or three units of one domain have
    infinite bounds: too many draws hold one unit only. Raises ValueError on bad input.
    """
    check_level(level)
    tops = vector(numerators, "numerators")
    sizes = sizes_of(denominators, tops.size)
    strata = strata_of(tops[:, None], sizes, domains, clusters)
    return studentised(strata, "micro", draws, seed, level)


def studentised(
    strata: Sequence[Stratum], aggregate: Aggregate, draws: int, seed: int, level: float
) -> Estimate:
    """The first column's aggregate with its studentised bootstrap interval."""
    linear = linearise(strata, aggregate)
    drawn = [pivots(linear, *block) for block in replicates(strata, aggregate, draws, seed)]
    return pivotal_interval(linear, 0, np.concatenate(drawn)[:, 0], level)


def pivotal_interval(linear: Linear, column: int, drawn: Floats, level: float) -> Estimate:
    """A column's value with the interval that its drawn pivots, shape (draws,), give."""
    value, se = float(linear.values[column]), float(linear.standard_errors[column])
    n = sum(linear.units)
    if math.isnan(se):
        return Estimate(value, -math.inf, math.inf, math.nan, n)
    # No interpolation: it would make NaN of two infinite pivots.
    low = float(np.quantile(drawn, (1 - level) / 2, method="lower"))
    high = float(np.quantile(drawn, (1 + level) / 2, method="higher"))
    return Estimate(value, value - high * se, value - low * se, se, n)


def replicates(
    strata: Sequence[Stratum], aggregate: Aggregate, draws: int, seed: int | SeedSequence
) -> Iterator[tuple[Floats, Floats]]:
    """Blocks of draws: shifts of the aggregate from its value, and variances, (block, columns).

    Every column sees the same draws, so their dependence is kept. Each domain draws from its
    own stream of the seed: neither block size nor another domain changes what it draws.
    """
    if draws < 2:
        raise ValueError(f"a bootstrap needs at least 2 draws, got {draws}")
    root = seed if isinstance(seed, SeedSequence) else SeedSequence(seed)
    generators = [np.random.default_rng(child) for child in root.spawn(len(strata))]
    micro = micro_ratios(strata)
    tables = [_table(s, micro if aggregate == "micro" else s.ratios) for s in strata]
    widest = max(sum(s.n for s in strata), len(strata) * tables[0].shape[1])
    step = max(1, bootstrap.WEIGHTS_AT_ONCE // widest)
    combine = _micro if aggregate == "micro" else _domain_macro
    for start in range(0, draws, step):
        block = min(step, draws - start)
        sums = []
        for stratum, table, rng in zip(strata, tables, generators, strict=True):
            weights = bootstrap.resampling_weights(rng, block, stratum.n)
            alone = weights.max(axis=1, keepdims=True) == stratum.n
            sums.append(_Sums.of(weights @ table, stratum.n, alone))
        yield combine(sums)


def pivots(linear: Linear, shifts: Floats, variances: Floats) -> Floats:
    """shift / standard error of each draw, (block, columns).

    A draw that holds one unit only (in a mean over domains: of any domain) has no spread: its
    pivot is infinite. A column without any spread (a model against itself) has pivots 0.
    """
    scale = linear.variances.sum(axis=0)
    spread = variances > _NO_SPREAD * scale
    result = np.where(shifts == 0, 0.0, np.copysign(np.inf, shifts))
    np.divide(shifts, np.sqrt(variances, where=spread, out=np.ones_like(variances)),
              out=result, where=spread)  # fmt: skip
    result[:, scale == 0] = 0.0
    return result


class _Sums(NamedTuple):
    """Weighted sums of one domain: shapes (block, 1) and (block, columns).

    alone (block, 1): the draw holds one of the domain's units only, n times.
    """

    n: int
    alone: NDArray[np.bool_]
    size: Floats
    size_squared: Floats
    residual: Floats
    residual_size: Floats
    residual_squared: Floats

    @classmethod
    def of(cls, sums: Floats, n: int, alone: NDArray[np.bool_]) -> _Sums:
        rest = np.split(sums[:, 2:], 3, axis=1)
        return cls(n, alone, sums[:, :1], sums[:, 1:2], *rest)

    def squared_about(self, shift: Floats) -> Floats:
        """Weighted sum of (residual - shift * size)^2; rounding may leave it just below 0."""
        return (
            self.residual_squared
            - 2 * shift * self.residual_size
            + np.square(shift) * self.size_squared
        )

    @property
    def bessel(self) -> float:
        return self.n / (self.n - 1) if self.n > 1 else math.nan


def _table(stratum: Stratum, ratios: Floats) -> Floats:
    """What `_Sums` are sums of: shape (units, 2 + 3 * columns)."""
    residuals, sizes = stratum.residuals(ratios), stratum.sizes[:, None]
    return np.concatenate(
        [sizes, np.square(sizes), residuals, residuals * sizes, np.square(residuals)], axis=1
    )


def _domain_macro(sums: Sequence[_Sums]) -> tuple[Floats, Floats]:
    shifts = [part.residual / part.size for part in sums]
    variances = [
        part.bessel * part.squared_about(shift) / np.square(part.size)
        for part, shift in zip(sums, shifts, strict=True)
    ]
    # What a domain adds to the spread cannot be seen in one unit: it is not 0, so nothing is known.
    known = ~np.any([part.alone for part in sums], axis=0)
    return np.mean(shifts, axis=0), np.where(known, np.sum(variances, axis=0), 0.0) / len(sums) ** 2


def _micro(sums: Sequence[_Sums]) -> tuple[Floats, Floats]:
    size = np.sum([part.size for part in sums], axis=0)
    shift = np.sum([part.residual for part in sums], axis=0) / size
    spread = np.sum(
        [
            part.bessel
            * (part.squared_about(shift) - np.square(part.residual - shift * part.size) / part.n)
            for part in sums
        ],
        axis=0,
    )
    return shift, spread / np.square(size)
