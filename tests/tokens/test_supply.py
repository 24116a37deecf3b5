"""Epoch caps and sample lengths: no text is read more often than allowed, none twice in a pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokens import EpochConfig, Plan, SegmentMixture, SourceSize, summary
from skywright.tokens.mixture import Ramp, Steps, _power, targets
from skywright.tokens.supply import redistribute
from tests.tokens.test_plan import SKYWORK, SOURCES, ramp, read, segment, sizes, skywork_plan

# ------------------------------------------------------------ moving shares


@settings(deadline=None)
@given(st.floats(1e-3, 30), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_powers_from_products_and_roots_are_powers(exponent: float, t: list[float]) -> None:
    found = _power(np.array(t), exponent)
    assert np.allclose(found, np.array(t) ** exponent, rtol=1e-9, atol=1e-300)


def test_a_ramp_without_a_mean_is_a_straight_line() -> None:
    line = Ramp.model_validate({"from": 0.1, "to": 0.4})
    assert line.at(np.array([0.0, 0.5, 1.0])).tolist() == pytest.approx([0.1, 0.25, 0.4])
    assert line.average == pytest.approx(0.25)
    cube = Ramp.model_validate({"from": 0.1, "to": 0.5, "power": 3})
    assert cube.at(np.array([0.5]))[0] == pytest.approx(0.1 + 0.4 / 8)
    assert cube.average == pytest.approx(0.2)


@settings(deadline=None)
@given(
    st.one_of(
        st.builds(
            lambda a, b, p: Ramp(from_=a, to=b, power=p),
            st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 9),
        ),
        st.builds(
            lambda starts, shares: Steps(
                steps=tuple(zip([0.0, *sorted(starts)], shares, strict=False))
            ),
            st.sets(st.floats(0.01, 0.99), max_size=4),
            st.lists(st.floats(0, 1), min_size=5, max_size=5),
        ),
    )
)  # fmt: skip
def test_the_mean_share_is_the_integral_of_the_share(share: Ramp | Steps) -> None:
    fine = (np.arange(200_000) + 0.5) / 200_000
    course = share.at(fine)
    for upto in (0.2, 0.5, 1.0):
        wanted = course[fine < upto].mean()
        assert share.upto(np.array([upto]))[0] == pytest.approx(wanted, abs=2e-3)


def test_steps_change_a_share_at_their_places() -> None:
    part = segment("s", 6400, a=1.0, b={"steps": [[0, 0.1], [0.25, 0.5], [0.75, 0.0]]})
    told = summary(Plan(1, 1, sizes({"a": 9999, "b": 9999}), [part]))["segments"][0]
    assert told["planned"]["b"] == [0.1, 0.0, pytest.approx(0.275)]
    course = [point["shares"]["b"] for point in told["curve"]]
    assert course[:5] == pytest.approx([0.1] * 5, abs=0.02)
    assert course[5:15] == pytest.approx([0.5] * 10, abs=0.02)
    assert course[15:] == [0.0] * 5


@pytest.mark.parametrize(
    ("share", "message"),
    [
        ({"steps": [[0.1, 0.2]]}, "the first must be 0"),
        ({"steps": [[0, 0.2], [0.5, 0.1], [0.5, 0.3]]}, "the rest rise"),
        ({"steps": [[0, 0.2], [1.0, 0.1]]}, "the step at 1 is outside the segment"),
        ({"steps": [[0, 1.2]]}, "1.2 is not a share"),
        ({"from": 0.1, "to": 0.4, "mean": 0.2, "power": 2}, "`mean` or `power`, not both"),
        ({"from": 0.1, "to": 0.4, "power": 0}, "a ramp's power must be positive"),
    ],
)
def test_moving_shares_without_a_meaning_are_refused(share: dict, message: str) -> None:
    with pytest.raises(UserError, match="segment 's': mixture: b: ") as caught:
        segment("s", 100, a=1.0, b=share)
    assert message in str(caught.value)


# ------------------------------------------------------------ epoch caps


@st.composite
def scarce(draw: st.DrawFn) -> tuple[dict[str, int], list[SegmentMixture], float]:
    """Sources of which some run out, segments that use them, and a cap."""
    names = [f"s{i}" for i in range(draw(st.integers(2, 6)))]
    supply = {name: draw(st.integers(1, 60)) for name in names}
    supply["plenty"] = 5000
    parts = []
    for number in range(draw(st.integers(1, 3))):
        used = draw(st.sets(st.sampled_from(names), min_size=1))
        rises = draw(st.booleans())
        weights = {n: draw(st.floats(0.01, 1)) for n in sorted(used) if not (rises and n == "s0")}
        weights["plenty"] = draw(st.floats(0.2, 1))
        whole = sum(weights.values())
        mixture: dict = {name: weight / whole for name, weight in weights.items()}
        if rises:
            mixture["s0"] = ramp(0.05, 0.4, 0.15)
        tokens = draw(st.integers(1, 900))
        parts.append(segment(f"part{number}", tokens, **mixture))
    return supply, parts, draw(st.sampled_from([1.0, 1.5, 2.0, 5.0]))


@settings(deadline=None, max_examples=150)
@given(scarce())
def test_no_source_is_read_more_often_than_its_cap(
    case: tuple[dict[str, int], list[SegmentMixture], float],
) -> None:
    supply, parts, cap = case
    epochs = EpochConfig(max_epochs=cap, exhausted="redistribute")
    plan = Plan(3, 1, sizes(supply), parts, epochs, block_samples=16)
    at = plan.locate(np.arange(plan.samples))
    for index, name in enumerate(plan.names):
        drawn = int((at.source == index).sum())
        assert drawn <= cap * supply[name] + 1e-9
        times = np.bincount(at.window[at.source == index], minlength=supply[name])
        assert times.max(initial=0) <= np.ceil(cap)
    for part in summary(plan)["segments"]:
        assert sum(part["shares"].values()) == pytest.approx(1)


def test_a_source_that_runs_out_leaves_its_share_to_the_others_in_proportion() -> None:
    part = segment("s", 10_000, a=0.5, b=0.3, c=0.2)
    supply = sizes({"a": 9999, "b": 9999, "c": 500})
    with pytest.raises(UserError, match=r"c: it would be read 4\.00 times .* reached at about"):
        Plan(1, 1, supply, [part], EpochConfig(max_epochs=2))
    plan = Plan(1, 1, supply, [part], EpochConfig(max_epochs=2, exhausted="redistribute"))
    told = summary(plan)["segments"][0]
    # c gives 2 x 500 samples at a share of .2: it is gone after 5,000.
    assert told["exhausted"] == {"c": pytest.approx(5000, abs=64)}
    assert told["tokens_by_source"]["c"] == 1000
    assert told["epochs"]["c"] == 2
    last = told["curve"][-1]["shares"]
    assert last["a"] / last["b"] == pytest.approx(5 / 3, rel=0.05)
    assert last["c"] < 0.01  # a last sample may be handed out late


def test_redistributed_targets_still_make_a_whole() -> None:
    ends = np.arange(1, 101, dtype=np.int64) * 64
    wanted = targets({"a": 0.6, "b": 0.3, "c": 0.1}, 6400, ends)
    found, events = redistribute(wanted, ends, np.array([6400, 500, 100]))
    assert found.sum(axis=1) == pytest.approx(ends)
    assert (np.diff(found, axis=0) >= -1e-9).all()
    assert [event.column for event in events] == [2, 1]  # 100 / .1 comes before 500 / .3
    assert events[0].sample == pytest.approx(1000, abs=1)


def test_a_plan_whose_sources_all_run_out_is_refused_with_the_place() -> None:
    part = segment("s", 1000, a=0.5, b=0.5)
    supply = sizes({"a": 100, "b": 200})
    with pytest.raises(UserError, match=r"segment 's': after \d+ samples .* no source is left"):
        Plan(1, 1, supply, [part], EpochConfig(max_epochs=1, exhausted="redistribute"))


def test_sources_may_have_caps_of_their_own() -> None:
    part = segment("s", 900, a=0.5, b=0.5)
    supply = sizes({"a": 100, "b": 100})
    Plan(1, 1, supply, [part], EpochConfig(max_epochs=4, by_source={"a": 4.5, "b": 5}))
    with pytest.raises(UserError, match=r"mixture: b: it would be read 4\.50 times"):
        Plan(1, 1, supply, [part], EpochConfig(max_epochs=4, by_source={"a": 4.5}))
    with pytest.raises(UserError, match=r"epochs\.by_source: there is no source 'z'"):
        Plan(1, 1, supply, [part], EpochConfig(by_source={"z": 1}))


def test_a_source_that_leaves_and_returns_goes_on_where_it_was() -> None:
    parts = [
        segment("one", 500, a=0.5, b=0.5),
        segment("two", 400, b=1.0),
        segment("three", 600, a=1.0),
    ]
    plan = Plan(1, 1, sizes({"a": 1000, "b": 1000}), parts)
    at = plan.locate(np.arange(plan.samples))
    mine = at.draw[at.source == 0]
    assert np.array_equal(np.sort(mine), np.arange(850))
    assert mine[-600:].min() == 250
    assert len(set(at.window[at.source == 0].tolist())) == 850, "a window was read twice"


# ------------------------------------------------------------ sample lengths


def test_a_segment_may_have_samples_of_its_own_length() -> None:
    parts = [
        SegmentMixture(name="short", tokens=4 * 300, mixture={"a": 1.0}),
        SegmentMixture(name="long", tokens=16 * 100, mixture={"a": 1.0}, sequence_tokens=16),
        SegmentMixture(name="again", tokens=16 * 10, mixture={"a": 1.0}, sequence_tokens=16),
    ]
    source = {"a": SourceSize.declared(801, [4, 16])}  # 200 windows of 4, 50 of 16
    plan = Plan(1, 4, source, parts, EpochConfig(max_epochs=5))
    assert plan.first_samples.tolist() == [0, 300, 400, 410]
    assert plan.tokens == 1200 + 1600 + 160
    at = plan.locate(np.arange(plan.samples))
    assert at.epoch[:300].tolist().count(0) == 200
    # The second pass of short windows is left half read; long ones begin passes of their own.
    assert set(at.epoch[300:400].tolist()) == {2, 3}
    assert set(at.epoch[400:].tolist()) == {4}
    for epoch in (2, 3):
        mine = at.window[at.epoch == epoch]
        assert np.array_equal(np.sort(mine), np.arange(50))
    told = summary(plan)["segments"]
    assert told[0]["epochs"]["a"] == pytest.approx(1.5)
    assert told[2]["epochs"]["a"] == pytest.approx(1.5 + 2 + 0.2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([2, 3, 8]), st.integers(1, 200)), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_no_token_is_read_more_often_than_the_cap_at_any_lengths(
    lengths: list[tuple[int, int]], cap: int
) -> None:
    parts = [
        SegmentMixture(
            name=f"p{i}",
            tokens=length * count,
            mixture={"a": 0.5, "b": 0.5},
            sequence_tokens=length,
        )
        for i, (length, count) in enumerate(lengths)
    ]
    tokens = {"a": 101, "b": 20_001}
    source = {name: SourceSize.declared(n, [2, 3, 8]) for name, n in tokens.items()}
    epochs = EpochConfig(max_epochs=cap, by_source={"b": 99}, exhausted="redistribute")
    plan = Plan(1, 2, source, parts, epochs, 8)
    read_times = np.zeros(101)
    at = plan.locate(np.arange(plan.samples))
    for part, layout in enumerate(plan.layouts):
        here = (at.segment == part) & (plan.names.index("a") == at.source)
        for window in at.window[here]:
            read_times[window * layout.sequence_tokens :][: layout.sequence_tokens] += 1
    assert read_times.max() <= cap


def test_lengths_appended_later_change_nothing_already_read() -> None:
    numbers = np.arange(0, 12_210, 17)
    longer = [
        *SKYWORK,
        SegmentMixture(name="long", tokens=800, mixture={"zh": 1.0}, sequence_tokens=8),
    ]
    more = {name: SourceSize.declared(n + bool(n), [1, 8]) for name, n in SOURCES.items()}
    plan = Plan(7, 1, more, longer, EpochConfig(max_epochs=9), 64)
    assert read(plan, numbers) == read(skywork_plan(), numbers)
    assert plan.fingerprint(12_210) == skywork_plan().fingerprint()
