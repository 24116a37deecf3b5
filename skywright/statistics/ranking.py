"""Many models on the same documents: intervals that hold for all of them at once, and ranks.

The largest of all studentised deviations over the draws of one bootstrap gives one critical
value for all models, and one for all pairs (max-t: Romano & Wolf 2005, Econometrica 73,
1237-1282). From the pairs' intervals follow the ranks that a model can have: worse than those
surely lower, better than those surely higher (Mogstad, Romano, Shaikh & Wilhelm 2024, Review of
Economic Studies 91, 476-518, the simultaneous two-sided set without its stepwise refinement).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from skywright.statistics.estimate import Estimate, Floats, check_level, finite_or_none
from skywright.statistics.linear import Linear, linearise
from skywright.statistics.paired import Verdict, check_noise_floor, verdict_of
from skywright.statistics.studentised import DRAWS, pivots, replicates
from skywright.statistics.units import Stratum, losses_of, sizes_of, strata_of


@dataclass(frozen=True)
class Standing:
    """One model's place. loss: its domain-macro with its own t interval; simultaneous: the same
    with the interval that holds for all models at once, never the narrower one. best_rank and
    worst_rank hold for all models at once too; rank counts the models with a lower loss, plus
    one."""

    model: str
    loss: Estimate
    simultaneous: Estimate
    rank: int
    best_rank: int
    worst_rank: int

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "model": self.model,
            "loss": self.loss.as_json(),
            "simultaneous": self.simultaneous.as_json(),
            "rank": self.rank,
            "best_rank": self.best_rank,
            "worst_rank": self.worst_rank,
        }


@dataclass(frozen=True)
class PairDifference:
    """Loss of a minus loss of b, with an interval that holds for all pairs at once.

    detectable: the true difference that this interval excludes from 0 four times out of five.
    """

    a: str
    b: str
    difference: Estimate
    detectable: float
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """The fields under their names; what is not finite becomes null."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference.as_json(),
            "detectable": finite_or_none(self.detectable),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Leaderboard:
    """Models from lowest to highest loss, and every pair of them."""

    standings: tuple[Standing, ...]
    pairs: tuple[PairDifference, ...]
    noise_floor: float
    level: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "standings": [standing.as_json() for standing in self.standings],
            "pairs": [pair.as_json() for pair in self.pairs],
            "noise_floor": self.noise_floor,
            "level": self.level,
        }


def leaderboard(
    models: Mapping[str, ArrayLike],
    sizes: ArrayLike,
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    noise_floor: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Leaderboard:
    """Rank models by the domain-macro of their losses on the same documents.

    models: by name, nats a document, shape (n,); sizes: bytes or reference tokens; domains,
    clusters: a label a document. A pair whose difference is smaller than `noise_floor` counts
    as not told apart. With probability `level` all true ranks lie within best and worst rank.
    Pairs come in the order of `models`. Raises ValueError on bad input.
    """
    check_level(level)
    check_noise_floor(noise_floor)
    losses = losses_of(models)
    strata = strata_of(losses, sizes_of(sizes, len(losses)), domains, clusters)
    joint = joint_intervals(strata, draws, seed, level)
    names = list(models)
    signs = joint.directions(noise_floor)
    pairs = [
        _pair(names[a], names[b], joint.pair_interval(index), signs[index] != 0, noise_floor)
        for index, (a, b) in enumerate(joint.pairs)
    ]
    best, worst = joint.rank_ranges(noise_floor)
    standings = [
        Standing(
            model=name,
            loss=joint.losses[index],
            simultaneous=joint.level_interval(index),
            rank=1 + int((joint.levels.values < joint.levels.values[index]).sum()),
            best_rank=int(best[index]),
            worst_rank=int(worst[index]),
        )
        for index, name in enumerate(names)
    ]
    standings.sort(key=lambda standing: standing.rank)
    return Leaderboard(tuple(standings), tuple(pairs), noise_floor, level)


@dataclass(frozen=True, eq=False)
class JointIntervals:
    """Models' levels and differences with the critical values that hold for all at once.

    pairs (pairs, 2): columns of models; losses: each level with its own t interval.
    """

    levels: Linear
    differences: Linear
    pairs: NDArray[np.int64]
    losses: tuple[Estimate, ...]
    level_critical: float
    pair_critical: float

    def level_interval(self, model: int) -> Estimate:
        """A model's loss, simultaneous over models."""
        own, found = self.losses[model], _widened(self.levels, model, self.level_critical)
        return replace(found, low=min(own.low, found.low), high=max(own.high, found.high))

    def pair_interval(self, pair: int) -> Estimate:
        """A pair's difference, simultaneous over pairs."""
        return _widened(self.differences, pair, self.pair_critical)

    def directions(self, noise_floor: float = 0.0) -> NDArray[np.int64]:
        """A pair's sign where its simultaneous interval excludes 0, else 0: shape (pairs,).

        0 also where the difference is smaller than the noise floor.
        """
        found = [self.pair_interval(index) for index in range(len(self.pairs))]
        return np.array(
            [0 if abs(e.value) < noise_floor else int(e.low > 0) - int(e.high < 0) for e in found],
            dtype=np.int64,
        )

    def rank_ranges(self, noise_floor: float = 0.0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Best and worst rank that each model can have, all at once: two vectors (models,)."""
        models, signs = len(self.losses), self.directions(noise_floor)
        lower = np.where(signs < 0, self.pairs[:, 0], self.pairs[:, 1])[signs != 0]
        higher = np.where(signs < 0, self.pairs[:, 1], self.pairs[:, 0])[signs != 0]
        best = 1 + np.bincount(higher, minlength=models)
        worst = models - np.bincount(lower, minlength=models)
        return best.astype(np.int64), worst.astype(np.int64)


def joint_intervals(
    strata: Sequence[Stratum], draws: int, seed: int | SeedSequence, level: float
) -> JointIntervals:
    """Simultaneous intervals of the domain-macros of all columns and of all their pairs."""
    models = strata[0].tops.shape[1]
    pairs, weights = pair_weights(models)
    wide = [stratum.combined(np.hstack([np.eye(models), weights])) for stratum in strata]
    linear = linearise(wide, "domain-macro")
    level_maxima, pair_maxima = [], []
    for shifts, variances in replicates(wide, "domain-macro", draws, seed):
        drawn = pivots(linear, shifts, variances)
        level_maxima.append(np.abs(drawn[:, :models]).max(axis=1))
        pair_maxima.append(np.abs(drawn[:, models:]).max(axis=1, initial=0.0))
    levels, differences = _columns(linear, slice(models)), _columns(linear, slice(models, None))
    return JointIntervals(
        levels=levels,
        differences=differences,
        pairs=pairs,
        losses=tuple(levels.estimate(index, level) for index in range(models)),
        level_critical=_critical(np.concatenate(level_maxima), level),
        pair_critical=_critical(np.concatenate(pair_maxima), level),
    )


def pair_weights(models: int) -> tuple[NDArray[np.int64], Floats]:
    """All pairs of columns, (pairs, 2), and the weights that make their differences.

    weights (models, pairs): +1 for the first of a pair, -1 for the second.
    """
    pairs = np.stack(np.triu_indices(models, 1), axis=1).astype(np.int64)
    weights = np.zeros((models, len(pairs)))
    weights[pairs[:, 0], np.arange(len(pairs))] = 1.0
    weights[pairs[:, 1], np.arange(len(pairs))] = -1.0
    return pairs, weights


def _critical(maxima: Floats, level: float) -> float:
    return float(np.quantile(maxima, level, method="higher"))


def _columns(linear: Linear, which: slice) -> Linear:
    return Linear(
        linear.values[which], linear.variances[:, which], linear.freedoms[:, which], linear.units
    )


def _widened(linear: Linear, column: int, critical: float) -> Estimate:
    value, se = float(linear.values[column]), float(linear.standard_errors[column])
    # A model against itself differs by exactly 0, whatever the critical value is.
    half = 0.0 if se == 0 else math.inf if math.isnan(se) else critical * se
    return Estimate(value, value - half, value + half, se, sum(linear.units))


def _pair(a: str, b: str, difference: Estimate, called: bool, noise_floor: float) -> PairDifference:
    half = difference.high - difference.value
    reach = float(ndtri(0.8)) * difference.standard_error
    return PairDifference(
        a=a,
        b=b,
        difference=difference,
        detectable=half + reach if math.isfinite(half) else math.inf,
        verdict=verdict_of(difference.value, called, noise_floor),
    )
