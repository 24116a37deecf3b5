"""The leaderboard: critical values against known ones, ranks by hand, nothing left to names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skywright.statistics import aggregates, leaderboard, paired_ratio_difference
from skywright.statistics.linear import Linear
from skywright.statistics.ranking import JointIntervals, joint_intervals
from skywright.statistics.units import strata_of
from tests.statistics.samples import real, simulated


def joint_of(values: list[float], critical: float, se: float = 1.0) -> JointIntervals:
    """Intervals of models at these values, every difference with the same standard error."""
    levels = np.array(values)
    pairs = np.stack(np.triu_indices(len(values), 1), axis=1)
    differences = levels[pairs[:, 0]] - levels[pairs[:, 1]]
    variances = np.full((1, len(pairs)), se**2)
    freedoms = np.full((1, len(pairs)), 49.0)
    return JointIntervals(
        Linear(levels, np.ones((1, len(values))), np.full((1, len(values)), 49.0), (50,)),
        Linear(differences, variances, freedoms, (50,)),
        pairs, (None,) * len(values), 2.0, critical,
    )  # fmt: skip


def test_rank_ranges_worked_by_hand() -> None:
    # Told apart if further than 2: the first from the last two, the second from the last.
    best, worst = joint_of([0.0, 1.0, 2.5, 3.5], critical=2.0).rank_ranges()
    assert best.tolist() == [1, 1, 2, 3]
    assert worst.tolist() == [2, 3, 4, 4]
    best, worst = joint_of([0.0, 1.0, 2.5, 3.5], critical=2.0).rank_ranges(noise_floor=3.0)
    assert best.tolist() == [1, 1, 1, 2]
    assert worst.tolist() == [3, 4, 4, 4]
    # The order in which models are given is no order of their losses.
    best, worst = joint_of([3.5, 0.0, 2.5, 1.0], critical=2.0).rank_ranges()
    assert best.tolist() == [3, 1, 2, 1]
    assert worst.tolist() == [4, 2, 4, 3]


def test_the_critical_value_of_all_pairs_is_tukeys() -> None:
    # Independent models of equal spread: the largest pair is the studentised range / sqrt 2.
    rng = np.random.default_rng(0)
    losses = rng.normal(10.0, 1.0, (400, 4))
    strata = strata_of(losses, np.ones(400))
    found = joint_intervals(strata, 10_000, 0, 0.95)
    tukey = stats.studentized_range.ppf(0.95, 4, 10_000) / np.sqrt(2)
    assert found.pair_critical == pytest.approx(tukey, rel=0.03)
    # Largest of four independent levels (Sidak).
    sidak = stats.norm.ppf((1 + 0.95 ** (1 / 4)) / 2)
    assert found.level_critical == pytest.approx(sidak, rel=0.03)


def test_two_models_have_one_pair_and_need_no_correction() -> None:
    sample = simulated(1, 300, 1)
    a, b = sample.models["m0"], sample.models["m2"]
    (pair,) = leaderboard({"a": a, "b": b}, sample.sizes).pairs
    closed = paired_ratio_difference(a, b, sample.sizes)
    assert pair.difference.value == pytest.approx(closed.value)
    assert pair.difference.high - pair.difference.low == pytest.approx(
        closed.high - closed.low, rel=0.06
    )


def test_simultaneous_intervals_are_wider_and_levels_are_those_of_aggregates() -> None:
    sample = real()
    found = leaderboard(sample.models, sample.sizes, sample.domains)
    for standing in found.standings:
        assert standing.simultaneous.low < standing.loss.low
        assert standing.simultaneous.high > standing.loss.high
        nats = sample.models[standing.model]
        alone = aggregates(nats, sample.sizes, sample.domains, interval="t").domain_macro
        assert (standing.loss.value, standing.loss.low) == pytest.approx(
            (alone.value, alone.low), rel=1e-9
        )


def test_checkpoints_of_a_run_stand_in_the_order_of_their_training() -> None:
    sample = real()
    found = leaderboard(sample.models, sample.sizes, sample.domains)
    assert [s.model for s in found.standings] == [
        "step-00000636", "step-00000391", "step-00000293", "step-00000196", "branch",
    ]  # fmt: skip
    assert all(s.best_rank == s.rank == s.worst_rank for s in found.standings)
    assert len(found.pairs) == 10


def test_a_model_given_twice_shares_its_ranks() -> None:
    sample = simulated(2, 200, 2)
    twice = {"one": sample.models["m0"], "again": sample.models["m0"], "far": sample.models["m4"]}
    found = leaderboard(twice, sample.sizes, sample.domains)
    ranges = {s.model: (s.rank, s.best_rank, s.worst_rank) for s in found.standings}
    assert ranges == {"one": (1, 1, 2), "again": (1, 1, 2), "far": (3, 3, 3)}
    pair = found.pairs[0]
    assert (pair.difference.value, pair.difference.low, pair.difference.high) == (0, 0, 0)
    assert pair.verdict == "cannot tell"


def test_one_unit_or_one_model_leaves_everything_open() -> None:
    found = leaderboard({"a": [1.0], "b": [2.0]}, [3.0])
    assert [(s.best_rank, s.worst_rank) for s in found.standings] == [(1, 2), (1, 2)]
    record = found.as_json()
    assert record["pairs"][0]["detectable"] is None
    json.dumps(record, allow_nan=False)
    sample = simulated(3, 30, 1)
    (alone,) = leaderboard({"a": sample.models["m0"]}, sample.sizes).standings
    assert (alone.rank, alone.best_rank, alone.worst_rank) == (1, 1, 1)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.125, 50.0]), st.randoms())
def test_order_unit_and_names_do_not_matter(seed: int, factor: float, random: object) -> None:
    sample = simulated(seed, 60, 2, models=4)
    clusters = np.arange(60) // 4 * 2 + np.arange(60) % 2
    base = leaderboard(sample.models, sample.sizes, sample.domains, clusters, draws=80)
    order = list(range(60))
    random.shuffle(order)  # type: ignore[attr-defined]
    names = list(sample.models)
    random.shuffle(names)  # type: ignore[attr-defined]
    moved = leaderboard(
        {name: sample.models[name][order] * factor for name in names},
        sample.sizes[order],
        sample.domains[order],
        np.array([f"c{c}" for c in clusters])[order],
        draws=80,
    )
    for one, other in zip(moved.standings, base.standings, strict=True):
        assert (one.model, one.rank, one.best_rank, one.worst_rank) == (
            other.model, other.rank, other.best_rank, other.worst_rank,
        )  # fmt: skip
        assert (one.loss.low, one.simultaneous.high) == pytest.approx(
            (factor * other.loss.low, factor * other.simultaneous.high), rel=1e-6
        )


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_ranks_agree_with_verdicts(seed: int) -> None:
    sample = simulated(seed, 40, 2, models=4)
    found = leaderboard(sample.models, sample.sizes, sample.domains, draws=100)
    for standing in found.standings:
        assert standing.best_rank <= standing.rank <= standing.worst_rank
        lower = sum(
            (p.b == standing.model and p.verdict == "a lower")
            or (p.a == standing.model and p.verdict == "b lower")
            for p in found.pairs
        )
        assert standing.best_rank == 1 + lower


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: leaderboard({}, [1.0]), "no model"),
        (lambda: leaderboard({"a": [1.0], "b": [1.0, 2.0]}, [1.0]), "not the same set"),
        (lambda: leaderboard({"a": [1.0]}, [1.0], level=2), "level"),
        (lambda: leaderboard({"a": [1.0]}, [1.0], noise_floor=float("nan")), "noise floor"),
    ],
)
def test_bad_input_is_refused_in_words(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_no_interval_for_all_models_is_narrower_than_a_models_own() -> None:
    # One document carries nearly all of the spread: t grows, a bootstrap of it may not.
    sizes = np.ones(12)
    losses = np.r_[np.linspace(1.0, 1.1, 11), 9.0]
    for standing in leaderboard({"a": losses, "b": 2 * losses}, sizes, draws=500).standings:
        assert standing.simultaneous.low <= standing.loss.low
        assert standing.simultaneous.high >= standing.loss.high
