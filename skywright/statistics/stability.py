"""Does a ranking hold from one period of a set to the next? The same models, new documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike
from scipy.special import stdtr

from skywright.statistics.estimate import Estimate, check_level, finite_or_none
from skywright.statistics.intervals import t_interval, welch
from skywright.statistics.linear import Linear, linearise
from skywright.statistics.multiple import holm
from skywright.statistics.paired import check_noise_floor
from skywright.statistics.power import detectable_difference
from skywright.statistics.ranking import JointIntervals, joint_intervals, pair_weights
from skywright.statistics.studentised import DRAWS, replicates
from skywright.statistics.units import Stratum, losses_of, sizes_of, strata_of


@dataclass(frozen=True, eq=False)
class Period:
    """What several models lost on one period's documents.

    losses: by model, nats a document, shape (n,); sizes: bytes or reference tokens; domains,
    clusters: a label a document.
    """

    losses: Mapping[str, ArrayLike]
    sizes: ArrayLike
    domains: ArrayLike | None = None
    clusters: ArrayLike | None = None

    def strata(self) -> tuple[Stratum, ...]:
        """The documents as units within domains; raises ValueError on bad input."""
        losses = losses_of(self.losses)
        return strata_of(losses, sizes_of(self.sizes, len(losses)), self.domains, self.clusters)


@dataclass(frozen=True)
class Interaction:
    """How the difference a - b changed: after minus before, two independent samples.

    before, after: the paired differences of the domain-macros; change: with a Welch interval;
    p_adjusted: Holm's over pairs. "changed" says that the two models answer to the new
    documents differently, whichever of them is ahead.
    """

    a: str
    b: str
    before: Estimate
    after: Estimate
    change: Estimate
    p: float
    p_adjusted: float
    detectable: float
    verdict: Literal["changed", "cannot tell", "below noise"]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names; what is not finite becomes null."""
        return {
            "a": self.a,
            "b": self.b,
            "before": self.before.as_json(),
            "after": self.after.as_json(),
            "change": self.change.as_json(),
            "p": self.p,
            "p_adjusted": self.p_adjusted,
            "detectable": finite_or_none(self.detectable),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Stability:
    """Agreement of two rankings.

    kendall: tau of the observed rankings with the percentiles of its bootstrap. kendall_sure:
    the lowest and highest tau that the pairs told apart in both periods leave possible; it holds
    at `level` whatever the gaps between models, and is wide where many pairs are close.
    """

    kendall: Estimate
    kendall_sure: tuple[float, float]
    interactions: tuple[Interaction, ...]
    level: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "kendall": self.kendall.as_json(),
            "kendall_sure": list(self.kendall_sure),
            "interactions": [interaction.as_json() for interaction in self.interactions],
            "level": self.level,
        }


def ranking_stability(
    before: Period,
    after: Period,
    noise_floor: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Stability:
    """Compare the ranking by domain-macro of the same models on two periods' documents.

    Both periods must hold the same models and domains; their documents are taken as independent.
    Tau is the share of pairs in the same order minus the share in opposite order (Kendall 1938,
    Biometrika 30, 81-93); a pair that is equal in a period counts as neither. A change smaller
    than `noise_floor` is called "below noise". Raises ValueError on bad input.
    """
    check_level(level)
    check_noise_floor(noise_floor)
    names = list(before.losses)
    if set(names) != set(after.losses):
        raise ValueError(f"models {sorted(names)} before but {sorted(after.losses)} after")
    if len(names) < 2:
        raise ValueError("a ranking needs at least two models")
    after = Period(
        {name: after.losses[name] for name in names}, after.sizes, after.domains, after.clusters
    )
    samples = before.strata(), after.strata()
    in_before, in_after = ([stratum.domain for stratum in sample] for sample in samples)
    if in_before != in_after:
        raise ValueError(f"domains {in_before} before but {in_after} after")
    seeds = SeedSequence(seed).spawn(4)
    # Two independent periods hold together at `level` if each holds at its square root.
    joint = [
        joint_intervals(sample, draws, child, math.sqrt(level))
        for sample, child in zip(samples, seeds[:2], strict=True)
    ]
    return Stability(
        kendall=_kendall(samples, draws, seeds[2:], level),
        kendall_sure=_possible_tau(joint),
        interactions=_interactions(names, samples, noise_floor, level),
        level=level,
    )


def _kendall(
    samples: Sequence[Sequence[Stratum]],
    draws: int,
    seeds: Sequence[SeedSequence],
    level: float,
) -> Estimate:
    _, weights = pair_weights(samples[0][0].tops.shape[1])
    observed, drawn = [], []
    for sample, seed in zip(samples, seeds, strict=True):
        pairs = [stratum.combined(weights) for stratum in sample]
        values = linearise(pairs, "domain-macro").values
        shifts = np.concatenate([s for s, _ in replicates(pairs, "domain-macro", draws, seed)])
        observed.append(np.sign(values))
        drawn.append(np.sign(values + shifts))
    tau = float((observed[0] * observed[1]).mean())
    taus = (drawn[0] * drawn[1]).mean(axis=1)
    units = [stratum.n for sample in samples for stratum in sample]
    if min(units) < 2:
        return Estimate(tau, -math.inf, math.inf, math.nan, sum(units))
    low = float(np.quantile(taus, (1 - level) / 2, method="lower"))
    high = float(np.quantile(taus, (1 + level) / 2, method="higher"))
    return Estimate(tau, low, high, float(taus.std(ddof=1)), sum(units))


def _possible_tau(joint: Sequence[JointIntervals]) -> tuple[float, float]:
    # 0 where a pair is open in either period
    agreement = joint[0].directions() * joint[1].directions()
    unknown = float((agreement == 0).mean())
    known = float(agreement.mean())
    return known - unknown, known + unknown


def _interactions(
    names: Sequence[str],
    samples: Sequence[Sequence[Stratum]],
    noise_floor: float,
    level: float,
) -> tuple[Interaction, ...]:
    pairs, weights = pair_weights(len(names))
    before, after = (
        linearise([stratum.combined(weights) for stratum in sample], "domain-macro")
        for sample in samples
    )
    changes = [_change(before, after, index, level) for index in range(len(pairs))]
    p_values = [_two_sided_p(change, freedom) for change, freedom in changes]
    return tuple(
        Interaction(
            a=names[a],
            b=names[b],
            before=before.estimate(index, level),
            after=after.estimate(index, level),
            change=changes[index][0],
            p=p_values[index],
            p_adjusted=adjusted,
            detectable=detectable_difference(
                changes[index][0].standard_error, changes[index][1], level
            ),
            verdict=(
                "below noise"
                if abs(changes[index][0].value) < noise_floor
                else "changed"
                if adjusted <= 1 - level
                else "cannot tell"
            ),
        )
        for index, ((a, b), adjusted) in enumerate(zip(pairs, holm(p_values), strict=True))
    )


def _change(before: Linear, after: Linear, pair: int, level: float) -> tuple[Estimate, float]:
    """After minus before with Welch's interval, and its degrees of freedom."""
    variances = [*before.variances[:, pair], *after.variances[:, pair]]
    freedom = welch(variances, [*before.freedoms[:, pair], *after.freedoms[:, pair]])
    value = float(after.values[pair] - before.values[pair])
    units = sum(before.units) + sum(after.units)
    return t_interval(value, math.sqrt(sum(variances)), freedom, units, level), freedom


def _two_sided_p(change: Estimate, freedom: float) -> float:
    if math.isnan(change.standard_error):
        return 1.0
    if change.standard_error == 0:
        return 1.0 if change.value == 0 else 0.0
    return float(2 * stdtr(freedom, -abs(change.value) / change.standard_error))
