"""How well the intervals keep their promise on documents like yours: measured by simulation.

The documents given are taken as the whole population, so the truth is known. Each simulation
draws a sample of units from them, with replacement and within domains, computes every interval,
and notes which of them hold the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator, SeedSequence
from numpy.typing import ArrayLike

from skywright.statistics.estimate import Estimate, check_level
from skywright.statistics.intervals import proportion_interval
from skywright.statistics.linear import linearise
from skywright.statistics.paired import A_MINUS_B
from skywright.statistics.ranking import joint_intervals
from skywright.statistics.sequential import FIRST_LOOK, ratio_bounds
from skywright.statistics.signflip import flippable_effects, sign_flip_p
from skywright.statistics.studentised import studentised
from skywright.statistics.units import Stratum, losses_of, sizes_of, strata_of


@dataclass(frozen=True)
class Coverage:
    """In which share of simulations an interval, or every one of a family, held the truth.

    units: how many were sampled, in each domain.
    """

    name: str
    units: int
    share: Estimate

    def as_json(self) -> dict[str, Any]:
        """The fields; the share with Wilson's interval over simulations."""
        return {"name": self.name, "units": self.units, "share": self.share.as_json()}


def interval_coverage(
    models: Mapping[str, ArrayLike],
    sizes: ArrayLike,
    domains: ArrayLike | None = None,
    clusters: ArrayLike | None = None,
    units: int = 100,
    simulations: int = 2000,
    draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Coverage, ...]:
    """Coverage of this package's intervals when samples come from documents like these.

    models: by name, at least two, nats a document, shape (n,); sizes, domains, clusters as in
    `leaderboard`. units: clusters drawn in each domain; draws: of each bootstrap. Intervals of
    one value are those of the first model, differences those of the first minus the second.
    "sign-flip": the share of true nulls that a test at 1 - level leaves alone, the difference
    moved to 0 first. Raises ValueError on bad input.
    """
    check_level(level)
    losses = losses_of(models)
    if losses.shape[1] < 2:
        raise ValueError("coverage of differences needs at least two models")
    population = strata_of(losses, sizes_of(sizes, len(losses)), domains, clusters)
    hits: dict[str, int] = {}
    for child in SeedSequence(seed).spawn(simulations):
        rng = np.random.default_rng(child)
        sample = [_sampled(stratum, units, rng) for stratum in population]
        for name, held in _held(sample, population, draws, level).items():
            hits[name] = hits.get(name, 0) + held
    return tuple(
        Coverage(name, units, proportion_interval(count, simulations))
        for name, count in hits.items()
    )


def sequence_coverage(
    losses_a: ArrayLike,
    losses_b: ArrayLike,
    sizes: ArrayLike,
    clusters: ArrayLike | None = None,
    units: int = 1000,
    planned_units: int = 300,
    first_look: int = FIRST_LOOK,
    simulations: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Coverage:
    """Share of confidence sequences that hold the true difference at every look.

    A look after each of `units` units from `first_look` on; documents as in `paired_sequence`,
    all of one domain.
    """
    check_level(level)
    losses = losses_of({"a": losses_a, "b": losses_b})
    (whole,) = strata_of(losses, sizes_of(sizes, len(losses)), None, clusters)
    whole = whole.combined(A_MINUS_B)
    truth = whole.ratios[0]
    rng = np.random.default_rng(seed)
    held, step = 0, max(1, 1_000_000 // units)  # 8 MB for each array of a block of simulations
    for start in range(0, simulations, step):
        rows = rng.integers(0, whole.n, size=(min(step, simulations - start), units))
        _, lows, highs = ratio_bounds(
            whole.tops[rows, 0], whole.sizes[rows], planned_units, 1 - level
        )
        inside = (lows <= truth) & (truth <= highs)
        held += int(inside[:, first_look - 1 :].all(axis=1).sum())
    return Coverage("confidence sequence", units, proportion_interval(held, simulations))


def _sampled(stratum: Stratum, units: int, rng: Generator) -> Stratum:
    rows = rng.integers(0, stratum.n, size=units)
    return Stratum(stratum.domain, stratum.tops[rows], stratum.sizes[rows])


def _held(
    sample: Sequence[Stratum], population: Sequence[Stratum], draws: int, level: float
) -> dict[str, bool]:
    """By name: whether the interval, or all of the family, holds what is true of the population.

    Bootstraps use seed 0 every time, as they do by default.
    """
    truth = linearise(population, "domain-macro").values
    first, first_truth = [_columns(part, [1.0]) for part in (sample, population)]
    pair, pair_truth = [_columns(part, [1.0, -1.0]) for part in (sample, population)]
    joint = joint_intervals(sample, draws, 0, level)
    best, worst = joint.rank_ranges()
    ranks = 1 + (truth[:, None] > truth).sum(axis=1)

    def holds(estimate: Estimate, value: float) -> bool:
        return bool(estimate.low <= value <= estimate.high)

    # Every domain gives the same number of units to a sample, so its mean unit counts alike.
    micro = sum(s.tops.mean() for s in first_truth) / sum(s.sizes.mean() for s in first_truth)
    moved = float(linearise(pair_truth, "domain-macro").values[0])
    null = [Stratum(s.domain, s.tops - moved * s.sizes[:, None], s.sizes) for s in pair]
    observed = float(linearise(null, "domain-macro").values[0])
    return {
        "micro, t": holds(linearise(first, "micro").estimate(level=level), micro),
        "micro, studentised": holds(studentised(first, "micro", draws, 0, level), micro),
        "domain-macro, t": holds(joint.losses[0], truth[0]),
        "domain-macro, studentised": holds(
            studentised(first, "domain-macro", draws, 0, level), truth[0]
        ),
        "difference, t": holds(joint.differences.estimate(0, level), moved),
        "difference, studentised": holds(studentised(pair, "domain-macro", draws, 0, level), moved),
        "sign-flip": sign_flip_p(flippable_effects(null), observed, draws, 0) > 1 - level,
        "levels, simultaneous": all(
            holds(joint.level_interval(model), value) for model, value in enumerate(truth)
        ),
        "pairs, simultaneous": all(
            holds(joint.pair_interval(index), truth[a] - truth[b])
            for index, (a, b) in enumerate(joint.pairs)
        ),
        "ranks, simultaneous": bool(((best <= ranks) & (ranks <= worst)).all()),
    }


def _columns(strata: Sequence[Stratum], weights: Sequence[float]) -> list[Stratum]:
    """The first columns, weighted, as the only one."""
    kept = len(weights)
    return [
        Stratum(s.domain, s.tops[:, :kept] @ np.array(weights)[:, None], s.sizes) for s in strata
    ]
