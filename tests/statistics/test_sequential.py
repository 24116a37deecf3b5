"""The confidence sequence: its boundary, its algebra, clusters, and what the order must be."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from skywright.statistics import paired_ratio_difference, paired_sequence, random_order
from skywright.statistics.sequential import boundary, ratio_bounds
from tests.statistics.samples import simulated


def test_the_boundary_is_narrowest_where_planned() -> None:
    def squared_at_200(rho_squared: float) -> float:
        grown = 200 * rho_squared + 1
        return 2 * grown / (200**2 * rho_squared) * math.log(math.sqrt(grown) / 0.05)

    best = optimize.minimize_scalar(squared_at_200, bounds=(1e-4, 1), method="bounded")
    at_200 = boundary(np.array([200]), 200, 0.05)[0]
    assert at_200 == pytest.approx(math.sqrt(best.fun), rel=1e-6)
    # What the docstring says of its width, against an interval looked at once.
    assert at_200 * math.sqrt(200) / stats.norm.ppf(0.975) == pytest.approx(1.55, abs=0.005)
    for other in (100, 400):
        assert boundary(np.array([200]), other, 0.05)[0] > at_200


def test_ratio_bounds_are_where_the_residuals_meet_the_boundary() -> None:
    sample = simulated(1, 60, 1)
    top, size = sample.models["m0"] - sample.models["m1"], sample.sizes
    values, lows, highs = ratio_bounds(top, size, 40, 0.05)
    edge = boundary(np.arange(1, 61), 40, 0.05)
    for n in (10, 37, 60):
        assert values[n - 1] == pytest.approx(top[:n].sum() / size[:n].sum())
        for bound in (lows[n - 1], highs[n - 1]):
            residuals = top[:n] - bound * size[:n]
            assert abs(residuals.mean()) == pytest.approx(edge[n - 1] * residuals.std(ddof=1))
        assert lows[n - 1] < values[n - 1] < highs[n - 1]


def test_sizes_that_vary_too_much_exclude_nothing() -> None:
    _, lows, highs = ratio_bounds(np.array([1.0, 2.0, 90.0]), np.array([1.0, 1.0, 90.0]), 3, 0.05)
    assert (lows[1:] == -np.inf).any()
    assert (highs[1:] == np.inf).any()


def test_equal_sizes_give_the_sequence_of_a_mean() -> None:
    values = np.random.default_rng(2).normal(1, 2, 80)
    _, lows, highs = ratio_bounds(values, np.ones(80), 50, 0.05)
    half = boundary(np.arange(1, 81), 50, 0.05)[79] * values.std(ddof=1)
    assert (lows[79], highs[79]) == pytest.approx((values.mean() - half, values.mean() + half))


def test_it_is_wider_than_the_interval_looked_at_once_and_shrinks() -> None:
    sample = simulated(3, 1000, 1, sigma=0.4)
    a, b = sample.models["m0"], sample.models["m4"]
    order = random_order(1000, seed=1)
    found = paired_sequence(a, b, sample.sizes, order, planned_units=1000)
    once = paired_ratio_difference(a, b, sample.sizes)
    assert found.now.value == pytest.approx(once.value)
    ratio = (found.now.high - found.now.low) / (once.high - once.low)
    assert ratio == pytest.approx(1.55, abs=0.05)
    width = found.highs - found.lows
    assert width[99] > width[299] > width[999]
    assert found.first_decided() < 1000
    assert found.first_decided(noise_floor=1.0) is None
    assert found.first_within(width[999]) < 1000
    assert found.first_within(0.0) is None


def test_nothing_is_said_before_the_first_look() -> None:
    sample = simulated(4, 50, 1)
    found = paired_sequence(
        sample.models["m0"], sample.models["m1"], sample.sizes, random_order(50, 0), 100
    )
    assert (found.lows[:29] == -np.inf).all()
    assert np.isfinite(found.lows[29:]).all()
    record = found.as_json()
    assert record["lows"][0] is None
    json.dumps(record, allow_nan=False)


def test_what_is_not_scored_is_not_read() -> None:
    sample = simulated(5, 90, 1)
    a, b = sample.models["m0"], sample.models["m1"]
    order = random_order(90, 3)
    whole = paired_sequence(a, b, sample.sizes, order, 50)
    unscored = a.copy()
    unscored[order[60:]] = np.nan
    part = paired_sequence(unscored, b, sample.sizes, order[:60], 50)
    assert part.highs[29:] == pytest.approx(whole.highs[29:60])


def test_a_cluster_is_one_unit_and_waits_until_it_is_complete() -> None:
    sample = simulated(6, 120, 1)
    a, b, size = sample.models["m0"], sample.models["m1"], sample.sizes
    clusters = np.arange(120) % 40
    order = random_order(120, 5, clusters)
    assert sorted(order.tolist()) == list(range(120))
    found = paired_sequence(a, b, size, order, 40, clusters, first_look=5)
    assert len(found.values) == 40
    summed = [np.bincount(clusters, weights=x) for x in (a, b, size)]
    apart = paired_sequence(*summed, clusters[order[::3]], 40, first_look=5)
    assert found.highs[4:] == pytest.approx(apart.highs[4:])
    cut = paired_sequence(a, b, size, order[:31], 40, clusters, first_look=5)
    assert cut.highs[4:] == pytest.approx(found.highs[4:10])


def test_the_seed_decides_the_order() -> None:
    assert (random_order(50, 1) == random_order(50, 1)).all()
    assert (random_order(50, 1) != random_order(50, 2)).any()
    labels = np.array(list("xxyyzz"))
    assert {tuple(random_order(6, seed, labels)) for seed in range(40)} == {
        (*p, *q, *r) for p in ((0, 1), (2, 3), (4, 5)) for q in ((0, 1), (2, 3), (4, 5))
        for r in ((0, 1), (2, 3), (4, 5)) if len({p, q, r}) == 3
    }  # fmt: skip


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.125, 300.0]))
def test_swapping_the_models_negates_and_the_unit_scales(seed: int, factor: float) -> None:
    sample = simulated(seed, 40, 1)
    a, b = sample.models["m0"], sample.models["m1"]
    order = random_order(40, seed)
    base = paired_sequence(a, b, sample.sizes, order, 30)
    moved = paired_sequence(b * factor, a * factor, sample.sizes, order, 30)
    assert moved.lows[29:] == pytest.approx(-factor * base.highs[29:], rel=1e-6, abs=1e-9 * factor)
    labels = paired_sequence(a, b, sample.sizes, order, 30, clusters=[f"d{i}" for i in range(40)])
    assert labels.lows[29:] == pytest.approx(base.lows[29:])


@pytest.mark.parametrize(
    ("order", "clusters", "planned", "message"),
    [
        ([0, 1, 1], None, 5, "each once"),
        ([0, 4], None, 5, "documents 0 to 3"),
        ([], None, 5, "one at least"),
        ([0.5], None, 5, "document indices"),
        ([0, 2, 1], [7, 7, 8, 8], 5, "tears a cluster apart"),
        ([0, 2], [7, 7, 8, 8], 5, "before all its documents"),
        ([0], [7, 7, 8, 8], 5, "no cluster is complete"),
        ([0, 1], [7, 8], 5, "clusters of shape"),
        ([0, 1], None, 0, "planned_units"),
        ([3], None, 5, r"losses_a\[order\]\[0\] is nan"),
    ],
)
def test_bad_input_is_refused_in_words(
    order: list, clusters: object, planned: int, message: str
) -> None:
    losses = [1.0, 2.0, 3.0, math.nan]
    with pytest.raises(ValueError, match=message):
        paired_sequence(losses, [1.0] * 4, [1.0] * 4, order, planned, clusters)
