"""Paired comparison: classic data, exact enumeration, power, noise, and symmetry of a and b."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skywright.statistics import (
    detectable_difference,
    domain_macro,
    holm,
    paired_comparison,
    paired_ratio_difference,
    units_needed,
)
from skywright.statistics.linear import linearise
from skywright.statistics.signflip import flippable_effects, sign_flip_p
from skywright.statistics.units import Stratum
from tests.statistics.samples import real, simulated

# Darwin's maize (The Effects of Cross and Self Fertilisation, 1876): heights of 15 crossed minus
# self-fertilised plants, in eighths of an inch, as Fisher uses them (Design of Experiments,
# section 21), who counts 1,726 of the 32,768 patterns of signs as extreme as the one observed.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)


def test_fishers_count_of_sign_patterns() -> None:
    assert sign_flip_p(DARWIN, DARWIN.sum(), draws=2**14, seed=0) == 1726 / 32768
    drawn = sign_flip_p(DARWIN, DARWIN.sum(), draws=2**14 - 1, seed=0)
    assert drawn == pytest.approx(1726 / 32768, abs=4 * math.sqrt(0.05 * 0.95 / 2**14))


def test_the_whole_comparison_on_darwins_maize() -> None:
    found = paired_comparison(100 + DARWIN, np.full(15, 100.0), np.ones(15), draws=2**14)
    # Two pairs carry most of the variance: it has 12.2 degrees of freedom instead of 14.
    freedom = 30 / (stats.kurtosis(DARWIN, fisher=False) - 12 / 14)
    expected = stats.t.interval(0.95, freedom, DARWIN.mean(), stats.sem(DARWIN))
    (only,) = found.domains
    assert (only.difference.low, only.difference.high) == pytest.approx(expected)
    # As Fisher's count, and unlike Student's interval, it does not exclude 0.
    assert only.difference.low < 0 < stats.ttest_1samp(DARWIN, 0).confidence_interval(0.95).low
    assert only.p == only.p_adjusted == found.macro.p == 1726 / 32768
    # Fisher's t test calls it at .0497, the sign-flip test at .0527 does not.
    assert only.verdict == "cannot tell"


def test_p_is_never_0_and_few_units_cannot_reach_the_level() -> None:
    assert sign_flip_p(np.ones(5), 5.0, draws=10_000, seed=0) == 2 / 2**5
    assert sign_flip_p(np.ones(400), 400.0, draws=999, seed=0) == 1 / 1000
    assert sign_flip_p(np.zeros(4), 0.0, draws=100, seed=0) == 1.0
    assert sign_flip_p(np.ones(1), 1.0, draws=100, seed=0) == 1.0


@settings(max_examples=30)
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8))
def test_enumeration_counts_every_pattern(values: list[float]) -> None:
    effects = np.array(values)
    observed = effects.sum()
    patterns = np.array(list(itertools.product([1, -1], repeat=len(values))))
    reached = np.abs(patterns @ effects) >= abs(observed) - 1e-12 * np.abs(effects).sum()
    assert sign_flip_p(effects, observed, draws=1000, seed=0) == pytest.approx(reached.mean())


def test_flipped_effects_have_the_variance_of_the_difference() -> None:
    # Domains that differ: only the mean over domains is held at 0, so their spread is no noise.
    rng = np.random.default_rng(0)
    parts = [
        Stratum(str(d), rng.normal(5.0 * d, 1.0, (n, 1)), np.ones(n))
        for d, n in enumerate([8, 40, 200])
    ]
    moved = [Stratum(p.domain, p.tops - 5.0, p.sizes) for p in parts]
    effects = flippable_effects(moved)
    linear = linearise(moved, "domain-macro")
    assert math.sqrt((effects**2).sum()) == pytest.approx(linear.standard_errors[0], rel=0.05)
    (single,) = [flippable_effects([moved[0]])]
    assert single == pytest.approx(moved[0].tops[:, 0] / 8)


def test_flipped_effects_make_up_for_the_ratios_that_were_estimated() -> None:
    # Three domains of three units: unrepaired, a third of two thirds of the variance is missing.
    rng = np.random.default_rng(1)
    flipped, truth = [], 1 / 9
    for _ in range(2000):
        parts = [Stratum(str(d), rng.normal(0.0, 1.0, (3, 1)), np.ones(3)) for d in range(3)]
        flipped.append((flippable_effects(parts) ** 2).sum())
    assert np.mean(flipped) == pytest.approx(truth, rel=0.05)


def test_a_call_in_one_domain_must_stand_holms_adjustment() -> None:
    # Six units all on one side: p = 2 / 64, enough alone, not enough as one of two domains.
    a, b = np.arange(2.0, 8.0), np.ones(6)
    assert paired_comparison(a, b, np.ones(6)).domains[0].verdict == "b lower"
    rest = np.array([1.0, -1.0, 2.0, -2.0, 3.0, -3.0])
    both = paired_comparison(
        np.append(a, rest), np.append(b, np.zeros(6)), np.ones(12), ["x"] * 6 + ["y"] * 6
    ).domains[0]
    assert (both.p, both.p_adjusted, both.verdict) == (2 / 64, 4 / 64, "cannot tell")


def test_verdicts_name_the_lower_model_and_stop_at_the_noise_floor() -> None:
    sample = real()
    before, after = sample.models["step-00000391"], sample.models["step-00000636"]
    found = paired_comparison(before, after, sample.sizes, sample.domains)
    assert found.macro.verdict == "b lower"
    assert {d.verdict for d in found.domains} == {"b lower"}
    floored = paired_comparison(before, after, sample.sizes, sample.domains, noise_floor=0.05)
    verdicts = {d.domain: d.verdict for d in floored.domains}
    assert verdicts["zh_poetry"] == "b lower"
    assert verdicts["zh_manual"] == "below noise"
    assert paired_comparison(after, before, sample.sizes).macro.verdict == "a lower"


def test_a_model_against_itself_cannot_be_told_apart() -> None:
    sample = simulated(1, 60, 3)
    nats = sample.models["m0"]
    found = paired_comparison(nats, nats, sample.sizes, sample.domains)
    assert found.macro.p == 1.0
    assert found.macro.verdict == "cannot tell"
    floored = paired_comparison(nats, nats, sample.sizes, noise_floor=1e-6)
    assert floored.macro.verdict == "below noise"


def test_intervals_are_those_of_the_single_functions() -> None:
    sample = simulated(2, 90, 3)
    a, b = sample.models["m0"], sample.models["m3"]
    found = paired_comparison(a, b, sample.sizes, sample.domains)
    parts = []
    for domain in found.domains:
        kept = sample.domains == domain.domain
        parts.append(paired_ratio_difference(a[kept], b[kept], sample.sizes[kept]))
        assert (domain.difference.low, domain.difference.high) == pytest.approx(
            (parts[-1].low, parts[-1].high), rel=1e-9
        )
    macro = domain_macro(a - b, sample.sizes, sample.domains)
    difference = found.macro.difference
    assert (difference.low, difference.high) == pytest.approx((macro.low, macro.high), rel=1e-9)
    assert [d.p_adjusted for d in found.domains] == holm([d.p for d in found.domains])
    assert found.over_domains.n == 3


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([0.5, 1000.0]), st.randoms())
def test_swapping_the_models_negates_and_nothing_else_matters(
    seed: int, factor: float, random: object
) -> None:
    sample = simulated(seed, 60, 2)
    a, b = sample.models["m0"], sample.models["m1"]
    clusters = np.arange(60) // 4 * 2 + np.arange(60) % 2  # 15 a domain: drawn, not enumerated
    base = paired_comparison(a, b, sample.sizes, sample.domains, clusters, draws=200)
    order = list(range(60))
    random.shuffle(order)  # type: ignore[attr-defined]
    names = np.array([f"x{50 - c}" for c in clusters])
    moved = paired_comparison(
        b[order] * factor,
        a[order] * factor,
        sample.sizes[order],
        sample.domains[order],
        names[order],
        draws=200,
    )
    mirrored = {"a lower": "b lower", "b lower": "a lower"}
    for one, other in zip((*moved.domains, moved.macro), (*base.domains, base.macro), strict=True):
        assert (one.difference.value, one.difference.low, one.difference.high) == pytest.approx(
            tuple(-factor * x for x in (other.difference.value, other.difference.high,
                                        other.difference.low)), rel=1e-6, abs=1e-9 * factor
        )  # fmt: skip
        assert one.p == pytest.approx(other.p)
        assert one.detectable == pytest.approx(factor * other.detectable, rel=1e-6)
        assert one.verdict == mirrored.get(other.verdict, other.verdict)


def test_a_domain_of_one_document_leaves_the_macro_open() -> None:
    found = paired_comparison([1.0, 2.0, 3.0, 9.0], [2.0, 4.0, 6.0, 3.0], np.ones(4), list("aaab"))
    assert found.macro.p == 1.0
    assert found.macro.detectable == math.inf
    record = found.as_json()
    assert record["macro"]["detectable"] is None
    json.dumps(record, allow_nan=False)


def test_holm_of_a_worked_example() -> None:
    # Sorted .005 .01 .03 .04, times 4, 3, 2, 1: .02, .03, .06 and .04, which may not fall.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(0 <= one <= two <= 1 for one, two in zip(p, adjusted, strict=True))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()
    assert min(adjusted) == pytest.approx(min(1.0, min(p) * len(p)))


def test_the_detectable_difference_is_found_four_times_out_of_five() -> None:
    rng = np.random.default_rng(5)
    n, sd = 40, 2.0
    truth = detectable_difference(sd / math.sqrt(n), n - 1)
    assert truth == pytest.approx((2.0227 + 0.8511) * sd / math.sqrt(n), rel=1e-4)
    called = [stats.ttest_1samp(rng.normal(truth, sd, n), 0).pvalue <= 0.05 for _ in range(1000)]
    assert np.mean(called) == pytest.approx(0.8, abs=0.04)


def test_units_needed_follows_the_square_root_law() -> None:
    sample = simulated(6, 200, 1)
    found = paired_ratio_difference(sample.models["m0"], sample.models["m1"], sample.sizes)
    assert units_needed(found, 2.8016 * found.standard_error) in (200, 201)
    assert units_needed(found, 1.4008 * found.standard_error) in range(798, 803)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired_comparison([1.0], [1.0, 2.0], [1.0]), "1 documents of 'a' but 2 of 'b'"),
        (lambda: paired_comparison([1.0], [math.nan], [1.0]), r"losses of 'b'\[0\] is nan"),
        (lambda: paired_comparison([1.0], [1.0], [1.0], noise_floor=-1), "noise floor"),
        (lambda: paired_comparison([1.0], [1.0], [1.0], domains=[1, 2]), "domains of shape"),
        (lambda: sign_flip_p(np.ones(3), 1.0, 0, 0), "at least 1 draw"),
        (lambda: holm([0.2, 1.2]), "between 0 and 1"),
        (lambda: units_needed(paired_ratio_difference([1.0], [1.0], [1.0]), 0.1), "standard error"),
        (lambda: units_needed(paired_ratio_difference([1, 2], [1, 1], [1, 1]), 0.0), "positive"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_words(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
