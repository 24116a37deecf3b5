"""Score only as many documents as the answer needs: a confidence sequence that may be watched.

An ordinary interval looked at after every document is wrong far more often than it says. A
confidence sequence holds at all looks at once, so scoring may stop whenever its interval is
narrow enough or excludes 0. This one is the Gaussian mixture asymptotic confidence sequence of
Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas (2024, Annals of Statistics 52, 2613-2640, Theorem
2.2; the mixture is Robbins 1970, Annals of Mathematical Statistics 41, 1397-1409).

Its guarantee is asymptotic, as that of a t interval is: per-document losses have no known bound,
and without one no interval of finite width holds at every sample size (Bahadur & Savage 1956).
It needs units that are independent, alike, and of finite variance, which a random order of
documents gives, and a first look that is not too early.

A ratio is no mean. For the true ratio r, however, the residuals top - r * size are independent
with mean 0, so the sequence for a mean applies to them as it stands; the interval holds the r
whose residuals' mean is within the boundary (as in Fieller 1954, Journal of the Royal
Statistical Society B 16, 175-185).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import lambertw

from skywright.statistics.estimate import Estimate, Floats, check_level, finite_or_none, vector
from skywright.statistics.units import coded

FIRST_LOOK = 30
"""Units before the first interval: docs/statistics.md has the coverage measured from here on."""


@dataclass(frozen=True, eq=False)
class ConfidenceSequence:
    """An interval after each unit scored: shapes (units,).

    values: the ratio so far; lows, highs: at probability `level` all of them hold at once.
    Before the first look bounds are infinite.
    """

    values: Floats
    lows: Floats
    highs: Floats
    level: float

    @property
    def now(self) -> Estimate:
        """The interval after the last unit; the standard error is left open (NaN)."""
        last = float(self.values[-1]), float(self.lows[-1]), float(self.highs[-1])
        return Estimate(*last, math.nan, len(self.values))

    def first_decided(self, noise_floor: float = 0.0) -> int | None:
        """Units after which 0 was first excluded, by a difference above the noise floor."""
        outside = (self.lows > 0) | (self.highs < 0)
        return _first(outside & (np.abs(self.values) >= noise_floor))

    def first_within(self, half_width: float) -> int | None:
        """Units after which the interval first reached no further than `half_width`."""
        reach = np.maximum(self.highs - self.values, self.values - self.lows)
        return _first(reach <= half_width)

    def as_json(self) -> dict[str, Any]:
        """The sequences as lists; bounds before the first look are null."""
        return {
            "values": [float(v) for v in self.values],
            "lows": [finite_or_none(float(v)) for v in self.lows],
            "highs": [finite_or_none(float(v)) for v in self.highs],
            "level": self.level,
        }


def random_order(documents: int, seed: int, clusters: ArrayLike | None = None) -> NDArray[np.int64]:
    """An order in which to score documents: a permutation, clusters kept together.

    It follows from the seed and the clusters' names (without clusters: the documents' positions).
    """
    rng = np.random.default_rng(seed)
    if clusters is None:
        return rng.permutation(documents).astype(np.int64)
    _, unit_of = coded(clusters, documents, "clusters")
    place = rng.permutation(int(unit_of.max()) + 1)
    return np.argsort(place[unit_of], kind="stable").astype(np.int64)


def paired_sequence(
    losses_a: ArrayLike,
    losses_b: ArrayLike,
    sizes: ArrayLike,
    order: ArrayLike,
    planned_units: int,
    clusters: ArrayLike | None = None,
    first_look: int = FIRST_LOOK,
    level: float = 0.95,
) -> ConfidenceSequence:
    """Loss of a minus loss of b on one domain, with an interval after every unit scored.

    losses: nats a document, shape (n,), anything (NaN, say) where not yet scored; sizes: bytes
    or reference tokens; order: the documents scored so far, as indices in the order of scoring,
    which must be the beginning of a random order fixed beforehand (`random_order`); a cluster's
    documents stand together, and a last cluster that is not complete waits. planned_units: where
    the interval shall be narrowest, decided beforehand; there it is 1.55 times as wide as one
    looked at only once (level 0.95), and it goes on holding after it. Raises ValueError on bad
    input.
    """
    check_level(level)
    if planned_units < 1 or first_look < 2:
        raise ValueError(
            f"planned_units must be at least 1 and first_look at least 2, "
            f"got {planned_units} and {first_look}"
        )
    a, b, size = (np.asarray(x, dtype=np.float64) for x in (losses_a, losses_b, sizes))
    if not (a.ndim == 1 and a.shape == b.shape == size.shape):
        raise ValueError(f"shapes {a.shape}, {b.shape} and {size.shape}: not the same documents")
    scored = _checked_order(order, a.size)
    top = vector(a[scored], "losses_a[order]") - vector(b[scored], "losses_b[order]")
    bottom = vector(size[scored], "sizes[order]")
    if not (bottom > 0).all():
        raise ValueError("sizes must be positive; a document without text has no loss")
    if clusters is not None:
        edges = _cluster_edges(coded(clusters, a.size, "clusters")[1], scored)
        if edges.size < 2:
            raise ValueError("no cluster is complete yet")
        top = np.add.reduceat(top[: edges[-1]], edges[:-1])
        bottom = np.add.reduceat(bottom[: edges[-1]], edges[:-1])
    values, lows, highs = ratio_bounds(top, bottom, planned_units, 1 - level)
    lows[: first_look - 1], highs[: first_look - 1] = -np.inf, np.inf
    return ConfidenceSequence(values, lows, highs, level)


def ratio_bounds(
    tops: Floats, sizes: Floats, planned_units: int, alpha: float
) -> tuple[Floats, Floats, Floats]:
    """Ratios so far and their bounds, along the last axis of tops and sizes, shape (..., units).

    With boundary w and, over the units so far, mean size s, standard deviation sd: all r with
    |mean of (top - r * size)| <= w * sd of (top - r * size). Written for r = value + x this is
    (s^2 - w^2 var(size)) x^2 + 2 w^2 cov(e, size) x - w^2 var(e) <= 0 with e = top - value * size;
    where the first factor is not positive nothing is excluded.
    """
    count = np.arange(1, tops.shape[-1] + 1)
    squared = np.square(boundary(count, planned_units, alpha))
    mean_top, mean_size = np.cumsum(tops, axis=-1) / count, np.cumsum(sizes, axis=-1) / count
    values = mean_top / mean_size
    # About the overall means, so that little cancels; a variance does not mind.
    x = tops - tops.mean(axis=-1, keepdims=True)
    y = sizes - sizes.mean(axis=-1, keepdims=True)
    var_top, var_size, both = _covariance(x, x), _covariance(y, y), _covariance(x, y)
    var_e = np.maximum(0.0, var_top - 2 * values * both + np.square(values) * var_size)
    half = squared * (both - values * var_size)
    lead = np.square(mean_size) - squared * var_size
    root = np.sqrt(np.maximum(0.0, np.square(half) + lead * squared * var_e))
    bounded = lead > 0
    safe = np.where(bounded, lead, 1.0)
    lows = np.where(bounded, values + (-half - root) / safe, -np.inf)
    highs = np.where(bounded, values + (-half + root) / safe, np.inf)
    return values, lows, highs


def boundary(count: NDArray[np.int64], planned_units: int, alpha: float) -> Floats:
    """How many standard deviations a mean of `count` units may stray, at all counts at once.

    sqrt(2 (t rho^2 + 1) / (t rho)^2 * log(sqrt(t rho^2 + 1) / alpha)), with the rho that makes it
    smallest at t = planned_units: rho^2 = (-W(-alpha^2 / e) - 1) / planned_units, W the lower
    branch of Lambert's function.
    """
    rho_squared = (-float(lambertw(-(alpha**2) / math.e, k=-1).real) - 1) / planned_units
    grown = count * rho_squared + 1
    return np.asarray(
        np.sqrt(2 * grown / (count * (count * rho_squared)) * np.log(np.sqrt(grown) / alpha))
    )


def _covariance(x: Floats, y: Floats) -> Floats:
    """Unbiased covariance of the units so far, along the last axis; 0 for the first."""
    count = np.arange(1, x.shape[-1] + 1)
    sums = np.cumsum(x * y, axis=-1) - np.cumsum(x, axis=-1) * np.cumsum(y, axis=-1) / count
    return np.asarray(sums / np.maximum(count - 1, 1))


def _first(true_at: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(true_at)) + 1 if true_at.any() else None


def _checked_order(order: ArrayLike, documents: int) -> NDArray[np.int64]:
    scored = np.asarray(order)
    if scored.ndim != 1 or scored.size == 0 or scored.dtype.kind not in "iu":
        raise ValueError("order must be a vector of document indices, one at least")
    if scored.min() < 0 or scored.max() >= documents or np.unique(scored).size != scored.size:
        raise ValueError(f"order must name documents 0 to {documents - 1}, each once at most")
    return scored.astype(np.int64)


def _cluster_edges(unit_of: NDArray[np.int64], scored: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each complete cluster begins in the order, and where the last of them ends."""
    sequence = unit_of[scored]
    starts = np.flatnonzero(np.diff(sequence, prepend=-1))
    if np.unique(sequence[starts]).size != starts.size:
        raise ValueError("order tears a cluster apart; score a cluster's documents together")
    ends = np.append(starts[1:], sequence.size)
    complete = ends - starts == np.bincount(unit_of)[sequence[starts]]
    if not complete[:-1].all():
        raise ValueError("order leaves a cluster before all its documents are scored")
    return np.append(starts, ends[-1]) if complete[-1] else starts
