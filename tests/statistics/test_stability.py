"""Two periods: tau against scipy, the interaction against Welch's test, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skywright.statistics import Period, holm, leaderboard, ranking_stability
from skywright.statistics.ranking import joint_intervals
from tests.statistics.samples import Sample, simulated


def period(sample: Sample, **moved: float) -> Period:
    """The sample as a period; `moved` multiplies some models' losses."""
    models = {name: nats * moved.get(name, 1.0) for name, nats in sample.models.items()}
    return Period(models, sample.sizes, sample.domains)


def order(sample_period: Period) -> list[float]:
    found = leaderboard(sample_period.losses, sample_period.sizes, sample_period.domains, draws=9)
    values = {s.model: s.loss.value for s in found.standings}
    return [values[name] for name in sample_period.losses]


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_tau_is_scipys(seed: int) -> None:
    before, after = period(simulated(seed, 60)), period(simulated(seed + 1, 40))
    found = ranking_stability(before, after, draws=30)
    tau = stats.kendalltau(order(before), order(after)).statistic
    assert found.kendall.value == pytest.approx(tau)
    low, high = found.kendall_sure
    assert -1 <= low <= found.kendall.value <= high <= 1


def test_rankings_far_apart_are_stable_for_certain_and_turned_ones_are_not() -> None:
    apart = {f"m{i}": 1 + 0.2 * i for i in range(5)}
    before = period(simulated(1), **apart)
    same = ranking_stability(before, period(simulated(2), **apart))
    assert (same.kendall.value, same.kendall.low, same.kendall.high) == (1.0, 1.0, 1.0)
    assert same.kendall_sure == (1.0, 1.0)
    turned = period(simulated(2), **{f"m{i}": 2 - 0.2 * i for i in range(5)})
    assert ranking_stability(before, turned).kendall_sure == (-1.0, -1.0)


def test_both_periods_hold_together_at_the_level() -> None:
    def range_at(level: float, seed: int) -> tuple[float, float]:
        seeds = np.random.SeedSequence(0).spawn(4)
        signs = [
            joint_intervals(period(simulated(s)).strata(), 200, child, level).directions()
            for s, child in zip((seed, seed + 1), seeds[:2], strict=True)
        ]
        agreement = signs[0] * signs[1]
        return (
            agreement.mean() - (agreement == 0).mean(),
            agreement.mean() + (agreement == 0).mean(),
        )

    found = [
        ranking_stability(period(simulated(s)), period(simulated(s + 1)), draws=200).kendall_sure
        for s in range(0, 20, 2)
    ]
    assert found == [range_at(math.sqrt(0.95), s) for s in range(0, 20, 2)]
    assert found != [range_at(0.95, s) for s in range(0, 20, 2)]


def test_only_the_model_that_knew_the_first_period_is_called() -> None:
    # m2 loses a tenth less on the first period, as one that had seen it would.
    found = ranking_stability(period(simulated(3), m2=0.9), period(simulated(4)))
    changed = {(i.a, i.b) for i in found.interactions if i.verdict == "changed"}
    assert changed == {(a, b) for a, b in ((i.a, i.b) for i in found.interactions)
                       if "m2" in (a, b)}  # fmt: skip
    floored = ranking_stability(period(simulated(3), m2=0.9), period(simulated(4)), noise_floor=9.0)
    assert {i.verdict for i in floored.interactions} == {"below noise"}


def test_the_interaction_is_welchs_test_of_the_differences() -> None:
    rng = np.random.default_rng(5)
    first = {"a": rng.normal(5, 1, 30), "b": rng.normal(5, 1, 30)}
    second = {"a": rng.normal(5, 2, 50), "b": rng.normal(4, 1, 50)}
    found = ranking_stability(Period(first, np.ones(30)), Period(second, np.ones(50)), draws=50)
    (only,) = found.interactions
    test = stats.ttest_ind(second["a"] - second["b"], first["a"] - first["b"], equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (only.change.low, only.change.high) == pytest.approx((interval.low, interval.high))
    assert only.p == pytest.approx(test.pvalue)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.randoms())
def test_turning_time_round_negates_changes(seed: int, random: object) -> None:
    one, two = simulated(seed, 48), simulated(seed + 1, 60)
    forth = ranking_stability(period(one), period(two), draws=20)
    back = ranking_stability(period(two), period(one), draws=20)
    assert forth.kendall.value == back.kendall.value
    for a, b in zip(forth.interactions, back.interactions, strict=True):
        assert a.change.value == pytest.approx(-b.change.value, rel=1e-9)
        assert a.p == pytest.approx(b.p)
        assert (a.before, a.after) == (b.after, b.before)
    assert [i.p_adjusted for i in forth.interactions] == holm([i.p for i in forth.interactions])


def test_a_period_of_one_document_leaves_everything_open() -> None:
    found = ranking_stability(
        Period({"a": [1.0], "b": [2.0]}, [1.0]), Period({"b": [2.0], "a": [1.0]}, [1.0]), draws=20
    )
    assert found.kendall.value == 1.0
    assert found.kendall_sure == (-1.0, 1.0)
    assert found.interactions[0].verdict == "cannot tell"
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (Period({"a": [1.0]}, [1.0]), Period({"b": [1.0]}, [1.0]), "models .* before but"),
        (Period({"a": [1.0]}, [1.0]), Period({"a": [1.0]}, [1.0]), "at least two models"),
        (
            Period({"a": [1.0], "b": [1.0]}, [1.0], ["x"]),
            Period({"a": [1.0], "b": [1.0]}, [1.0], ["y"]),
            "domains .* before but",
        ),
    ],
)
def test_periods_that_do_not_match_are_refused(before: Period, after: Period, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ranking_stability(before, after)
