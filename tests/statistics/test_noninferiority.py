"""Non-inferiority: verdicts around the margin, the one-sided level, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from skywright.statistics import non_inferiority, paired_ratio_difference
from tests.statistics.samples import real, simulated


def test_a_bound_is_that_of_the_two_sided_interval() -> None:
    sample = simulated(1, 80, 2)
    new, old = sample.models["m1"], sample.models["m0"]
    found = non_inferiority(new, old, sample.sizes, 0.1, sample.domains, interval="t")
    for domain in found.domains:
        kept = sample.domains == domain.domain
        expected = paired_ratio_difference(new[kept], old[kept], sample.sizes[kept], level=0.95)
        assert domain.difference.high == pytest.approx(expected.high)


def test_the_verdict_lies_with_the_margin() -> None:
    sample = simulated(2, 300, 1)
    new, old = sample.models["m3"], sample.models["m0"]
    difference = paired_ratio_difference(new, old, sample.sizes)
    assert difference.low > 0

    def verdict(margin: float) -> str:
        (only,) = non_inferiority(new, old, sample.sizes, margin).domains
        return only.verdict

    assert verdict(2 * difference.high) == "not worse"
    assert verdict(difference.value) == "cannot tell"
    assert verdict(difference.low / 2) == "worse"


def test_the_branch_is_worse_and_the_last_checkpoint_nowhere() -> None:
    sample = real()
    arguments = sample.sizes, 0.02, sample.domains
    first, last = sample.models["step-00000196"], sample.models["step-00000636"]
    trained = non_inferiority(last, first, *arguments)
    assert trained.nowhere_worse
    branched = non_inferiority(sample.models["branch"], last, *arguments)
    assert not branched.nowhere_worse
    assert {d.verdict for d in branched.domains} == {"worse"}


def test_each_domain_may_have_its_margin() -> None:
    sample = simulated(3, 80, 2)
    new, old = sample.models["m4"], sample.models["m0"]
    margins = {"domain-0": 1.0, "domain-1": 1e-6}
    found = non_inferiority(new, old, sample.sizes, margins, sample.domains)
    assert [d.verdict == "not worse" for d in found.domains] == [True, False]
    assert not found.nowhere_worse


def test_a_true_difference_at_the_margin_passes_as_rarely_as_promised() -> None:
    rng = np.random.default_rng(4)
    passed = 0
    for _ in range(400):
        size = rng.lognormal(6, 0.5, 60)
        old = size * rng.lognormal(0, 0.2, 60)
        new = old + size * rng.normal(0.05, 0.1, 60)
        (only,) = non_inferiority(new, old, size, 0.05, interval="t").domains
        passed += only.verdict == "not worse"
    # 2.5 %, with three standard deviations of 400 simulations.
    assert passed / 400 <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 400)


def test_one_document_cannot_tell() -> None:
    found = non_inferiority([1.0], [2.0], [3.0], 0.5)
    assert found.domains[0].verdict == "cannot tell"
    assert found.as_json()["domains"][0]["margin_needed"] is None
    json.dumps(found.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("margins", "level", "message"),
    [
        ({"other": 0.1}, 0.975, "no margin for domain 'all'"),
        (0.0, 0.975, "must be positive"),
        (math.inf, 0.975, "must be positive"),
        (0.1, 0.4, "above 0.5"),
    ],
)
def test_bad_input_is_refused_in_words(margins: object, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        non_inferiority([1.0, 2.0], [1.0, 2.0], [1.0, 1.0], margins, level=level)  # type: ignore[arg-type]
