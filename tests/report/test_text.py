"""Numbers as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.report.records import Estimate
from skywright.report.text import (
    duration,
    estimate,
    inline,
    language,
    perplexity,
    quantity,
    share,
    size,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1_000, "1.00k"), (1_228_800, "1.23M"), (3.2e12, "3.20T"),
     (999_600, "1.00M"), (None, "—"), (math.nan, "—")],
)  # fmt: skip
def test_quantities_keep_three_digits(value: float | None, text: str) -> None:
    assert quantity(value) == text


def test_shares_never_round_something_to_nothing_or_to_all() -> None:
    assert share(1, 100_000) == "< 0.1 %"
    assert share(99_999, 100_000) == "> 99.9 %"
    assert share(0, 5) == "0.0 %"
    assert share(5, 5) == "100.0 %"
    assert share(1, 0) == "—"


@pytest.mark.parametrize(
    ("low", "value", "high", "shown"),
    [
        # Half an interval of 354 or less in its three highest digits keeps two digits, else one:
        # the rule and the bounds are the Particle Data Group's.
        (0.473, 0.827, 1.181, ("0.83", "0.47–1.18")),
        (0.472, 0.827, 1.182, ("0.8", "0.5–1.2")),
        (50.3, 51.4, 52.5, ("51.4", "50.3–52.5")),
        (115.1, 123.4, 132.4, ("123", "115–132")),
        (3.02, 3.12, 3.22, ("3.12", "3.02–3.22")),
        (1.003, 1.1, 1.197, ("1.10", "1.00–1.20")),
    ],
)
def test_values_are_rounded_to_what_the_interval_supports(
    low: float, value: float, high: float, shown: tuple[str, str]
) -> None:
    assert estimate(Estimate(value=value, low=low, high=high)) == shown


def test_differences_carry_signs_and_a_true_minus() -> None:
    given = Estimate(value=-0.011, low=-0.023, high=0.001)
    assert estimate(given, signed=True) == ("−0.011", "−0.023 to +0.001")


def test_an_estimate_without_interval_says_so() -> None:
    assert inline(Estimate(value=2.0)) == "2.000 (no interval)"
    assert inline(None) == "—"
    assert estimate(Estimate(value=math.nan, low=0, high=1)) == ("—", "")


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1e6), st.booleans())
def test_any_estimate_can_be_shown(value: float, below: float, above: float, signed: bool) -> None:
    shown = estimate(Estimate(value=value, low=value - below, high=value + above), signed=signed)
    assert shown.value
    assert shown.interval
    assert "-" not in shown.value + shown.interval  # minus signs only


def test_units() -> None:
    assert size(24_800_000) == "24.8 MB"
    assert duration(8.31) == "8.3 s"
    assert duration(252) == "4 min 12 s"
    assert duration(7_500) == "2 h 5 min"
    assert perplexity(math.log(751.4)) == "751"
    assert perplexity(math.log(9.421)) == "9.42"  # table 6 of the Skywork-13B report
    assert language("zh-Hant") == "Chinese, traditional"
    assert language("yue") == "yue"
