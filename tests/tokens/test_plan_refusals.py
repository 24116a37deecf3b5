"""Plans that cannot be carried out are refused with the figure that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from skywright.errors import UserError
from skywright.tokens import Plan
from tests.tokens.test_plan import SKYWORK, SOURCES, ramp, segment, sizes, skywork_plan


def refusal(**changes: object) -> str:
    with pytest.raises(UserError) as caught:
        skywork_plan(**changes)
    return str(caught.value)


def test_the_epoch_cap_is_refused_with_the_figure_and_the_place() -> None:
    message = refusal(sources={**SOURCES, "zh": 1000}, max_epochs=5, count=3)
    assert "segment 'stem': mixture: zh" in message
    assert "5.80 times (5,805 samples of 1,000 windows)" in message
    at = int(message.split("reached at about ")[1].split(" tokens")[0].replace(",", ""))
    places = skywork_plan(max_epochs=9).locate(np.arange(12_210))
    zh = sorted(SOURCES).index("zh")
    really = int(np.flatnonzero((places.source == zh) & (places.draw == 5000))[0])
    assert at <= really <= at + 64


def test_a_source_with_too_few_tokens_for_its_share_is_refused() -> None:
    message = refusal(sources={**SOURCES, "fresh": 0})
    assert "segment 'two': mixture: fresh: its share needs 321 samples" in message
    assert "too few tokens" in message


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"zh": 0.5, "en": 0.4}, "the shares sum to 0.9, not to 1"),
        ({"zh": 0.6, "en": 0.5}, "the shares sum to 1.1, not to 1"),
        ({"zh": 1.2, "en": -0.2}, "zh: 1.2 is not a share"),
        ({}, "is empty"),
        ({"zh": 1.0, "en": ramp(0.1, 0.4, 0.5)}, "from 0.1 to 0.4 cannot have the mean 0.5"),
        ({"zh": 1.0, "en": ramp(0.1, 0.4, 0.1)}, "mean between 0.1 and 0.4"),
        ({"zh": 1.0, "en": ramp(0.2, 0.2, 0.2)}, "cannot have the mean 0.2"),
        ({"zh": 1.0, "en": ramp(0.1, 1.4, 0.2)}, "en: 1.4 is not a share"),
        (
            {"zh": 1.0, "en": ramp(0.1, 0.6, 0.3), "code": ramp(0.2, 0.7, 0.3)},
            "the ramps code, en take 1.3 of the tokens at 100% of the segment",
        ),
        ({"en": ramp(0.1, 0.6, 0.3)}, "sum to 0.1 at 0% of the segment, and no other source"),
        (
            {"zh": 0.7, "en": ramp(0.1, 0.4, 0.2)},
            "the shares without a ramp sum to 0.7 (0.9 with the ramps' means and 0.8 with",
        ),
    ],
)
def test_shares_that_make_no_whole_are_refused_with_the_figure(shares: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        segment("s", 100, **shares)
    assert "segment 's': mixture" in str(caught.value)
    assert message in str(caught.value)


def test_ramps_that_pass_the_whole_only_in_the_middle_are_refused() -> None:
    early, late = ramp(0.0, 0.6, 0.55), ramp(0.8, 0.1, 0.75)  # both high in the middle
    with pytest.raises(UserError, match=r"the ramps a, b take 1\.\d+ of the tokens at \d\d%"):
        segment("s", 100, a=early, b=late, c=1.0)


def test_unknown_sources_short_segments_and_twice_the_name_are_refused() -> None:
    sources = {name: count for name, count in SOURCES.items() if name != "fresh"}
    assert "there is no source 'fresh'; there are code, en" in refusal(sources=sources)
    assert "are 0 samples of 5,000 tokens" in refusal(sequence_tokens=5000)
    with pytest.raises(UserError, match="'one': the name stands twice"):
        Plan(1, 1, sizes(SOURCES), [SKYWORK[0], SKYWORK[0]])
    with pytest.raises(UserError, match="no segments"):
        Plan(1, 1, sizes(SOURCES), [])
    with pytest.raises(UserError, match="must be positive"):
        Plan(1, 0, sizes(SOURCES), SKYWORK)


@pytest.mark.parametrize("wrong", [-1, 12_210])
def test_a_sample_outside_the_plan_is_refused(wrong: int) -> None:
    with pytest.raises(UserError, match=r"is outside the plan of 12,210 samples"):
        skywork_plan().locate(np.array([0, wrong]))
