"""The named averages: by hand, against each other, and against the report's tables."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from skywright.statistics import (
    aggregates,
    domain_macro,
    mean_over_domains,
    perplexity,
    ratio_difference,
    ratio_interval,
)
from tests.statistics.samples import real, simulated
from tests.statistics.test_intervals import TABLE_6

# Skywork-13B report, Table 8: loss on GSM8K's test set, training set and a reference set, and the
# printed differences test - reference and test - training.
TABLE_8 = {
    "ChatGLM3-6B": (0.99, 0.78, 0.99, 0.00, 0.21),
    "MOSS-7B": (1.51, 1.52, 1.49, 0.02, -0.01),
    "InternLM-7B": (1.21, 1.12, 1.27, -0.06, 0.09),
    "Qwen-7B": (1.07, 0.64, 1.10, -0.03, 0.43),
    "Baichuan2-7B": (1.41, 1.42, 1.36, 0.05, -0.01),
    "LLaMA-13B": (1.41, 1.42, 1.36, 0.05, -0.01),
    "LLaMA2-13B": (1.36, 1.38, 1.33, 0.03, -0.01),
    "Xverse-13B": (1.42, 1.43, 1.39, 0.03, -0.01),
    "Baichuan-13B": (1.41, 1.42, 1.37, 0.04, -0.01),
    "Baichuan2-13B": (1.09, 0.72, 1.12, -0.03, 0.37),
    "Qwen-14B": (1.03, 0.42, 1.14, -0.11, 0.61),
    "InternLM-20B": (1.20, 1.09, 1.19, 0.01, 0.11),
    "Aquila2-34B": (0.78, 0.39, 1.29, -0.51, 0.39),
    "Skywork-13B": (1.01, 0.97, 1.00, 0.01, 0.04),
}


@pytest.mark.parametrize("model", TABLE_6)
def test_table_6_is_the_perplexity_of_the_domain_macro(model: str) -> None:
    domains, average = TABLE_6[model]
    # Domains of unequal numbers and lengths of documents: only the domain-macro ignores them.
    sizes = [np.arange(1.0, 4 + i) for i in range(6)]
    found = aggregates(
        np.concatenate([math.log(p) * s for p, s in zip(domains, sizes, strict=True)]),
        np.concatenate(sizes),
        np.repeat(np.arange(6), [len(s) for s in sizes]),
        interval="t",
    )
    assert perplexity(found.domain_macro).value == pytest.approx(average, rel=6.5e-4)
    assert perplexity(found.micro).value != pytest.approx(average, rel=6.5e-3)


@pytest.mark.parametrize("model", TABLE_8)
def test_table_8_is_the_difference_of_its_columns(model: str) -> None:
    test, train, reference, delta_reference, delta_train = TABLE_8[model]

    def difference(a: float, b: float) -> float:
        return round(ratio_difference([a * 9], [9], [b * 7], [7]).value, 2)

    assert difference(test, reference) == delta_reference
    # The report prints -0.01 for LLaMA2-13B, where its own columns give 1.36 - 1.38.
    assert difference(test, train) == (-0.02 if model == "LLaMA2-13B" else delta_train)


def test_the_averages_of_a_small_set_worked_by_hand() -> None:
    # Domain a: 2/1 and 6/4; domain b: 9/3 and 3/3.
    found = aggregates([2.0, 6.0, 9.0, 3.0], [1.0, 4.0, 3.0, 3.0], list("aabb"), interval="t")
    assert found.micro.value == pytest.approx(20 / 11)
    assert found.document_macro.value == pytest.approx((2 + 1.5 + 3 + 1) / 4)
    assert found.domain_macro.value == pytest.approx((8 / 5 + 2) / 2)
    assert {name: e.value for name, e in found.domains.items()} == pytest.approx(
        {"a": 8 / 5, "b": 2.0}
    )
    # Domain a: e = 2 - 1.6, 6 - 6.4, so SE = sqrt(2 * .32) / 5; b: e = 3, -3, SE = sqrt(36) / 6.
    assert {name: e.standard_error for name, e in found.domains.items()} == pytest.approx(
        {"a": 0.16, "b": 1.0}
    )
    assert math.isnan(found.domain_macro.standard_error)  # two documents a domain are too few
    # Over domains: the values 1.6 and 2.0, t with one degree of freedom.
    assert found.over_domains.standard_error == pytest.approx(0.2)
    assert found.over_domains.high == pytest.approx(1.8 + stats.t.ppf(0.975, 1) * 0.2)


def test_t_intervals_are_those_of_the_single_functions() -> None:
    sample = simulated(1, 120, 4)
    nats, size = sample.models["m0"], sample.sizes
    found = aggregates(nats, size, sample.domains, interval="t")
    parts = {
        name: ratio_interval(nats[sample.domains == name], size[sample.domains == name])
        for name in np.unique(sample.domains)
    }
    for name, expected in parts.items():
        got = found.domains[name]
        assert (got.low, got.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    macro = domain_macro(nats, size, sample.domains)
    got = found.domain_macro
    assert (got.value, got.low, got.high) == (macro.value, macro.low, macro.high)
    assert macro.value == pytest.approx(np.mean([e.value for e in parts.values()]))


def test_one_domain_makes_micro_and_domain_macro_the_same() -> None:
    sample = simulated(2, 50, 1)
    nats, size = sample.models["m0"], sample.sizes
    found = aggregates(nats, size, draws=500)
    closed = ratio_interval(nats, size)
    assert found.domain_macro.value == pytest.approx(found.micro.value)
    assert (found.domain_macro.low, found.domain_macro.high) == pytest.approx(
        (found.micro.low, found.micro.high), rel=1e-9
    )
    assert found.micro.standard_error == pytest.approx(closed.standard_error, rel=1e-9)
    assert found.over_domains.low == -math.inf


def test_knowing_the_domains_narrows_the_micro_interval() -> None:
    sample = real()
    nats = sample.models["step-00000636"]
    apart = aggregates(nats, sample.sizes, sample.domains, interval="t").micro
    together = ratio_interval(nats, sample.sizes)
    assert apart.value == pytest.approx(together.value)
    assert apart.standard_error < together.standard_error / 2


def test_the_mean_over_domains_is_the_one_sample_t_interval() -> None:
    values = [2.1, 1.4, 3.3, 2.2, 2.9, 1.7]
    found = mean_over_domains(values)
    low, high = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high, found.n) == pytest.approx((low, high, 6))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([0.25, 7.0]), st.randoms())
def test_order_unit_and_names_of_clusters_do_not_matter(
    seed: int, factor: float, random: object
) -> None:
    sample = simulated(seed, 48, 3)
    nats, size = sample.models["m0"], sample.sizes
    clusters = np.arange(48) // 6 * 3 + np.arange(48) % 3  # two documents, of one domain
    base = aggregates(nats, size, sample.domains, clusters, draws=60)
    order = list(range(48))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = aggregates(
        nats[order] * factor,
        size[order],
        sample.domains[order],
        np.array([f"page {100 - c}" for c in clusters])[order],
        draws=60,
    )
    for name in ("micro", "document_macro", "domain_macro", "over_domains"):
        one, other = getattr(moved, name), getattr(base, name)
        assert (one.value, one.low, one.high) == pytest.approx(
            (factor * other.value, factor * other.low, factor * other.high), rel=1e-6
        )
        assert one.n == other.n


def test_json_has_every_average_under_its_name() -> None:
    record = aggregates([2.0, 6.0, 9.0], [1.0, 4.0, 3.0], list("aab"), draws=50).as_json()
    assert list(record) == ["micro", "document_macro", "domain_macro", "over_domains", "domains"]
    assert record["domains"]["b"] == {"value": 3.0, "low": None, "high": None, "n": 1}
    json.dumps(record, allow_nan=False)
