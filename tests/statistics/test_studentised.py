"""The studentised bootstrap: its sums against plain resampling, its invariances, its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.statistics import bootstrap, ratio_interval, ratio_studentised
from skywright.statistics.linear import linearise
from skywright.statistics.ranking import joint_intervals
from skywright.statistics.studentised import pivots, replicates, studentised
from skywright.statistics.units import Stratum, strata_of
from tests.statistics.samples import real, simulated


def strata(seed: int = 0, documents: int = 60, domains: int = 3) -> tuple[Stratum, ...]:
    sample = simulated(seed, documents, domains, models=2)
    return strata_of(np.stack(list(sample.models.values()), 1), sample.sizes, sample.domains)


@pytest.mark.parametrize("aggregate", ["micro", "domain-macro"])
def test_a_draw_is_what_computing_anew_on_the_drawn_units_gives(aggregate: str) -> None:
    parts = strata()
    linear = linearise(parts, aggregate)
    ((shifts, variances),) = replicates(parts, aggregate, 5, seed=7)
    children = np.random.SeedSequence(7).spawn(len(parts))
    weights = [
        bootstrap.resampling_weights(np.random.default_rng(child), 5, part.n).astype(int)
        for child, part in zip(children, parts, strict=True)
    ]
    for draw in range(5):
        drawn = [
            Stratum(p.domain, np.repeat(p.tops, w[draw], axis=0), np.repeat(p.sizes, w[draw]))
            for p, w in zip(parts, weights, strict=True)
        ]
        anew = linearise(drawn, aggregate)
        assert linear.values + shifts[draw] == pytest.approx(anew.values, rel=1e-12)
        assert np.sqrt(variances[draw]) == pytest.approx(anew.standard_errors, rel=1e-9)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = simulated(1, 90, 3)
    arguments = sample.models["m0"], sample.sizes
    whole = ratio_studentised(*arguments, domains=sample.domains, draws=500)
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_ONCE", 90 * 7)
    parts = ratio_studentised(*arguments, domains=sample.domains, draws=500)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_it_agrees_with_the_t_interval_where_units_are_many_and_alike() -> None:
    sample = simulated(2, 2000, 1, sigma=0.3)
    drawn = ratio_studentised(sample.models["m0"], sample.sizes)
    closed = ratio_interval(sample.models["m0"], sample.sizes)
    assert drawn.standard_error == pytest.approx(closed.standard_error, rel=1e-9)
    assert drawn.high - drawn.low == pytest.approx(closed.high - closed.low, rel=0.05)


def test_it_leans_to_the_side_of_the_long_tail() -> None:
    values = np.random.default_rng(3).lognormal(0.0, 1.0, 60)
    found = ratio_studentised(values, np.ones(60))
    assert found.high - found.value > 1.3 * (found.value - found.low)


def test_domains_are_not_resampled() -> None:
    # All spread lies between the domains, none within: then a fixed number of each leaves none.
    found = ratio_studentised(
        [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0], np.ones(8), domains=list("aaaabbbb"), draws=200
    )
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


def test_a_cluster_is_one_unit() -> None:
    sample = simulated(4, 40, 1)
    nats, size = sample.models["m0"], sample.sizes
    apart = ratio_studentised(nats, size, draws=300)
    halves = ratio_studentised(
        np.repeat(nats / 2, 2), np.repeat(size / 2, 2), np.repeat(np.arange(40), 2), draws=300
    )
    assert (halves.low, halves.high, halves.n) == pytest.approx((apart.low, apart.high, 40))


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(0.5, 500), st.floats(1, 500)), min_size=4, max_size=25),
    st.sampled_from([0.125, 3.0, 1e4]),
    st.randoms(),
)
def test_order_units_and_names_do_not_matter(rows: list, factor: float, random: object) -> None:
    nats, size = (np.array(column) for column in zip(*rows, strict=True))
    clusters = np.arange(len(rows)) // 2
    base = ratio_studentised(nats, size, clusters, draws=100)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    names = np.array([f"c{997 - 7 * c}" for c in clusters])
    moved = ratio_studentised(nats[order] * factor, size[order], names[order], draws=100)
    assert moved.n == base.n
    assert moved.value == pytest.approx(base.value * factor, rel=1e-9)
    # Two units that differ in their last digits only may change places: then draws differ.
    unit_sizes = np.bincount(clusters, weights=size)
    if np.unique(np.round(unit_sizes, 6)).size == unit_sizes.size:
        for one, other in ((moved.low, base.low), (moved.high, base.high)):
            assert one == pytest.approx(other * factor, rel=1e-6, abs=1e-6 * abs(moved.value))


def test_too_few_units_have_no_finite_interval() -> None:
    assert ratio_studentised([1.0], [2.0]).low == -math.inf
    three = ratio_studentised([1.0, 2.0, 4.0], np.ones(3))
    assert (three.low, three.high) == (-math.inf, math.inf)
    five = ratio_studentised([1.0, 2.0, 4.0, 3.0, 2.5], np.ones(5))
    assert -math.inf < five.low < five.value < five.high < math.inf


@pytest.mark.parametrize(("units", "finite"), [(2, False), (3, False), (4, True)])
def test_a_domain_of_two_or_three_units_leaves_the_mean_over_domains_open(
    units: int, finite: bool
) -> None:
    rng = np.random.default_rng(units)
    domains = ["few"] * units + ["many"] * 40
    losses = rng.normal(3.0, 1.0, (units + 40, 2))
    parts = strata_of(losses, np.ones(units + 40), domains)
    found = studentised(parts, "domain-macro", 2000, 0, 0.95)
    assert (math.isfinite(found.low) and math.isfinite(found.high)) is finite
    joint = joint_intervals(parts, 2000, 0, 0.95)
    assert math.isfinite(joint.pair_interval(0).high) is finite
    # The ratio of all sums hardly knows of the small domain.
    assert math.isfinite(studentised(parts, "micro", 2000, 0, 0.95).high)


def test_a_draw_of_one_unit_is_as_far_as_can_be() -> None:
    part = Stratum("d", np.array([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]]), np.ones(3))
    linear = linearise([part], "micro")
    ((shifts, variances),) = replicates([part], "micro", 400, seed=0)
    drawn = pivots(linear, shifts, variances)
    alone = variances[:, 0] < 1e-9
    assert 0.05 < alone.mean() < 0.2  # 3 of 27 patterns
    assert np.isinf(drawn[alone, 0]).all()
    assert np.isfinite(drawn[~alone, 0]).all()
    assert (drawn[:, 1] == 0).all()  # a model against itself


def test_real_losses_get_nearly_the_t_interval() -> None:
    sample = real()
    nats = sample.models["step-00000636"]
    drawn, closed = ratio_studentised(nats, sample.sizes), ratio_interval(nats, sample.sizes)
    assert drawn.value == pytest.approx(closed.value)
    assert (drawn.low, drawn.high) == pytest.approx((closed.low, closed.high), rel=4e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ratio_studentised([1.0, 2.0], [1.0, 0.0]), r"sizes\[1\] is 0.0"),
        (lambda: ratio_studentised([1.0, 2.0], [1.0]), "2 losses but 1 sizes"),
        (lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], draws=1), "2 draws"),
        (lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], level=1.0), "level"),
        (lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], clusters=[1]), "clusters of shape"),
        (
            lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], ["x", None]),
            r"clusters\[1\] is None; labels must be",
        ),
        (
            lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], domains=[2.0, math.nan]),
            r"domains\[1\] is .*nan.*; labels must be",
        ),
        (
            lambda: ratio_studentised([1.0, 2.0], [1.0, 1.0], ["x", "x"], ["a", "b"]),
            "cluster x has documents in domains a and b",
        ),
    ],
)
def test_bad_input_is_refused_in_words(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
