"""Closed-form intervals against formulas, textbook values and simulated truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from skywright.statistics import (
    domain_macro,
    paired_ratio_difference,
    perplexity,
    proportion_interval,
    ratio_difference,
    ratio_interval,
)
from skywright.statistics.intervals import variance_freedom

# Skywork-13B report, Table 6: normalised perplexity of six domains and the printed average.
TABLE_6 = {
    "ChatGLM3-6B": ((12.48, 23.48, 5.07, 18.45, 5.67, 7.47), 10.25),
    "MOSS-7B": ((20.83, 39.66, 11.08, 31.24, 10.59, 13.25), 18.50),
    "InternLM-7B": ((13.43, 24.90, 5.88, 19.78, 6.17, 8.10), 11.17),
    "Qwen-7B": ((13.39, 25.16, 5.55, 19.26, 5.76, 7.78), 10.83),
    "Baichuan2-7B": ((12.89, 23.26, 5.34, 18.36, 5.68, 7.62), 10.41),
    "LLaMA2-13B": ((23.26, 50.66, 18.09, 32.52, 14.85, 16.55), 23.54),
    "Xverse-13B": ((12.55, 23.49, 5.20, 17.69, 5.54, 7.46), 10.19),
    "Baichuan-13B": ((12.38, 22.46, 5.21, 17.59, 5.42, 7.37), 10.03),
    "Baichuan2-13B": ((12.14, 21.85, 5.05, 17.15, 5.35, 7.24), 9.81),
    "Qwen-14B": ((11.90, 22.43, 4.89, 16.94, 5.24, 7.03), 9.67),
    "InternLM-20B": ((12.34, 22.06, 5.75, 17.45, 5.73, 7.78), 10.34),
    "Aquila2-34B": ((14.62, 29.09, 5.72, 21.78, 5.83, 8.45), 11.73),
    "Skywork-13B": ((11.58, 21.84, 4.76, 17.28, 4.92, 6.82), 9.42),
}


@pytest.mark.parametrize("model", TABLE_6)
def test_perplexity_of_the_mean_over_domains_is_the_printed_average(model: str) -> None:
    def average_of(shift: float) -> float:
        nats = [math.log(p + shift) for p in domains]
        return perplexity(domain_macro(nats, np.ones(6), np.arange(6))).value

    domains, average = TABLE_6[model]
    # Two printed digits: each figure may be off by .005, which allows up to .11 % of an average.
    assert average_of(-0.005) - 0.005 <= average <= average_of(0.005) + 0.005
    # What the table's rounding really does: at most .064 % (Qwen-14B, 9.6638 printed as 9.67).
    assert average_of(0) == pytest.approx(average, rel=6.5e-4)


def documents(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nats and bytes of n documents: lengths and losses a byte both lognormal, mean 0.7."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(7.0, 0.5, n)
    return size * 0.7 * rng.lognormal(-0.02, 0.2, n), size


def test_ratio_interval_is_the_t_interval_when_all_documents_weigh_the_same() -> None:
    values = np.array([2.1, 2.5, 1.9, 3.0, 2.2])
    found = ratio_interval(values, np.ones(5), level=0.9)
    low, high = stats.t.interval(0.9, 4, loc=values.mean(), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.n == 5


def test_ratio_interval_follows_the_linearised_formula() -> None:
    nats, size = np.array([10.0, 30.0, 22.0]), np.array([4.0, 11.0, 10.0])
    found = ratio_interval(nats, size)
    residuals = nats - 62 / 25 * size
    se = math.sqrt(3 / 2 * (residuals**2).sum()) / 25
    assert found.value == pytest.approx(62 / 25)
    assert found.standard_error == pytest.approx(se)
    assert found.high - found.value == pytest.approx(stats.t.ppf(0.975, 2) * se)


def test_a_variance_that_few_units_carry_has_few_degrees_of_freedom() -> None:
    even, one = np.tile([1.0, -1.0], 50), np.append(np.full(99, -1.0), 99.0)
    found = [float(variance_freedom(residuals)) for residuals in (even, one)]
    assert found[0] == 99
    kurtosis = stats.kurtosis(one, fisher=False)
    assert found[1] == pytest.approx(200 / (kurtosis - 97 / 99))
    assert found[1] < 2.1
    assert variance_freedom(np.zeros(5)) == 4
    assert variance_freedom(np.array([7.0])) == 0
    both = variance_freedom(np.stack([even, one], axis=1) * 1e-120)
    assert both == pytest.approx(found)


def test_intervals_of_normal_values_stay_as_they_were() -> None:
    values = np.random.default_rng(0).normal(size=(10, 4000))
    freedom = variance_freedom(values - values.mean(axis=0))
    half = stats.t.ppf(0.975, freedom) * stats.sem(values)
    # 95 % less and more three standard deviations of 4,000 simulations.
    assert 0.94 <= (np.abs(values.mean(axis=0)) <= half).mean() <= 0.96


def test_ratio_is_one_of_sums_not_a_mean_of_ratios() -> None:
    assert ratio_interval([1.0, 90.0], [1.0, 30.0]).value == pytest.approx(91 / 31)


def test_documents_of_one_cluster_count_as_one() -> None:
    nats, size = documents(3, 20)
    apart = ratio_interval(nats, size)
    twice = ratio_interval(
        np.repeat(nats, 2), np.repeat(size, 2), clusters=np.repeat(np.arange(20), 2)
    )
    assert (twice.value, twice.low, twice.high, twice.n) == pytest.approx(
        (apart.value, apart.low, apart.high, apart.n)
    )
    labels = np.array([f"page-{i // 2}" for i in range(40)])
    named = ratio_interval(np.repeat(nats, 2), np.repeat(size, 2), clusters=labels)
    assert (named.low, named.high) == pytest.approx((twice.low, twice.high), rel=1e-12)


@given(
    st.lists(st.tuples(st.floats(0.1, 1e3), st.floats(0.1, 1e3)), min_size=3, max_size=40),
    st.floats(1e-3, 1e3),
    st.randoms(),
)
def test_order_and_unit_do_not_matter(rows: list, factor: float, random: object) -> None:
    nats, size = (np.array(column) for column in zip(*rows, strict=True))
    base = ratio_interval(nats, size)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = ratio_interval(nats[order] * factor, size[order])
    assert moved.value == pytest.approx(base.value * factor, rel=1e-9)
    width = (base.high - base.low) * factor
    assert moved.high - moved.low == pytest.approx(width, rel=1e-5, abs=1e-6 * moved.value)
    assert base.low <= base.value <= base.high


def test_one_document_has_a_value_but_no_interval() -> None:
    found = ratio_interval([3.0], [2.0])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False)) == {
        "value": 1.5, "low": None, "high": None, "n": 1,
    }  # fmt: skip


def test_a_perplexity_without_an_interval_has_no_bound_on_either_side() -> None:
    nats = domain_macro([3.0, 1.0, 2.0], [2.0, 1.0, 1.0], list("abb"))
    assert (nats.value, nats.low, nats.high) == (1.5, -math.inf, math.inf)
    found = perplexity(nats).as_json()
    assert (found["value"], found["low"], found["high"]) == (math.exp(1.5), None, None)


def test_difference_of_independent_sets_is_welchs() -> None:
    a, b = np.array([1.0, 2.0, 4.0, 3.0]), np.array([5.0, 9.0, 2.0, 6.0, 7.0, 1.0])
    found = ratio_difference(a, np.ones(4), b, np.ones(6))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.n == 10


def test_paired_difference_is_much_narrower_than_the_unpaired_one() -> None:
    nats, size = documents(5, 100)
    better = nats * np.random.default_rng(6).normal(0.98, 0.005, 100)
    paired = paired_ratio_difference(nats, better, size)
    unpaired = ratio_difference(nats, size, better, size)
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.low > 0 > unpaired.low
    assert paired.standard_error < unpaired.standard_error / 5


def test_the_mean_over_domains_adds_variances_of_independent_domains() -> None:
    rng = np.random.default_rng(3)
    parts = [
        documents(int(seed), n) for seed, n in zip(rng.integers(0, 99, 2), (10, 20), strict=True)
    ]
    found = domain_macro(
        np.concatenate([nats for nats, _ in parts]),
        np.concatenate([size for _, size in parts]),
        np.repeat(["a", "b"], [10, 20]),
    )
    alone = [ratio_interval(*part) for part in parts]
    variances = [e.standard_error**2 for e in alone]
    assert found.value == pytest.approx(np.mean([e.value for e in alone]))
    assert found.standard_error == pytest.approx(math.sqrt(sum(variances)) / 2)
    freedoms = []
    for nats, size in parts:
        e = nats - nats.sum() / size.sum() * size
        n = len(e)
        kurtosis = n * (e**4).sum() / (e**2).sum() ** 2
        freedoms.append(min(n - 1, 2 * n / (kurtosis - (n - 3) / (n - 1))))
    freedom = sum(variances) ** 2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))
    half = stats.t.ppf(0.975, freedom) * found.standard_error
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half))


@pytest.mark.parametrize(("units", "known"), [(1, False), (2, False), (3, False), (4, True)])
def test_a_small_domain_leaves_the_mean_over_domains_without_an_interval(
    units: int, known: bool
) -> None:
    nats = np.random.default_rng(units).normal(3, 1, units + 40)
    found = domain_macro(nats, np.ones(units + 40), ["few"] * units + ["many"] * 40)
    assert found.value == pytest.approx((nats[:units].mean() + nats[units:].mean()) / 2)
    assert math.isfinite(found.low) is math.isfinite(found.high) is known
    assert math.isfinite(found.standard_error) is known


def test_the_mean_over_domains_covers_where_the_smallest_has_four_units() -> None:
    rng, covered = np.random.default_rng(0), 0
    domains = ["few"] * 4 + ["many"] * 40
    for _ in range(600):
        found = domain_macro(rng.normal(3, 1, 44), np.ones(44), domains)
        covered += found.low <= 3 <= found.high
    assert covered / 600 >= 0.936 - 3 * 0.01  # what 4,000 simulations give, less three errors


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (81, 263), (15, 148), (1, 29)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    found = proportion_interval(successes, n)
    expected = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_newcombes_example() -> None:
    # Newcombe 1998, Statistics in Medicine 17, Table I, method 3: 81 of 263.
    found = proportion_interval(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


def test_ratio_interval_covers_the_truth_at_its_level() -> None:
    covered = [
        e.low <= 0.7 <= e.high for e in (ratio_interval(*documents(s, 100)) for s in range(2000))
    ]
    assert 0.93 <= np.mean(covered) <= 0.97


def test_paired_difference_covers_the_truth_at_its_level() -> None:
    covered = []
    for seed in range(2000):
        nats, size = documents(seed, 100)
        noise = np.random.default_rng(seed + 10**6).normal(0.95, 0.05, 100)
        found = paired_ratio_difference(nats, nats * noise, size)
        covered.append(found.low <= 0.7 * 0.05 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ratio_interval([], []), "at least one"),
        (lambda: ratio_interval([1.0, math.nan], [1.0, 1.0]), r"numerators\[1\]"),
        (lambda: ratio_interval([1.0, 2.0], [1.0]), "2 numerators but 1"),
        (lambda: ratio_interval([1.0, 2.0], [0.0, 0.0]), "positive sum"),
        (lambda: ratio_interval([1.0, 2.0], [3.0, -1.0]), "negative"),
        (lambda: ratio_interval([1.0], [1.0], level=95), "level"),
        (lambda: ratio_interval([1.0], [1.0], clusters=[1, 2]), "clusters"),
        (lambda: paired_ratio_difference([1.0], [1.0, 2.0], [1.0]), "not the same set"),
        (lambda: proportion_interval(5, 4), "5 successes of 4"),
        (lambda: proportion_interval(0, 0), "0 successes of 0"),
        (lambda: domain_macro([1.0], [1.0], ["a", "b"]), "1 documents but domains"),
        (lambda: domain_macro([1.0, 2.0], [1.0, 0.0], ["a", "b"]), "domain b: its sizes"),
    ],
)
def test_bad_input_is_refused_in_words(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
