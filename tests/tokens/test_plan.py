"""The training order: exact shares, exactly-once epochs, independence of batches."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.tokens import EpochConfig, Plan, Ramp, SegmentMixture, SourceSize, summary
from skywright.tokens.apportion import apportion, whole_targets
from skywright.tokens.mixture import targets
from skywright.tokens.order import key_of, mix, permute
from skywright.tokens.summary import realised


def segment(name: str, tokens: int | str, **shares: float | dict) -> SegmentMixture:
    return SegmentMixture.model_validate({"name": name, "tokens": tokens, "mixture": shares})


def ramp(start: float, end: float, mean: float) -> dict:
    return {"from": start, "to": end, "mean": mean}


def sizes(windows: dict[str, int], *lengths: int) -> dict[str, SourceSize]:
    """Sources that hold so many windows of the first length (default: 1 token)."""
    lengths = lengths or (1,)
    return {
        name: SourceSize.declared(count * lengths[0] + bool(count), lengths)
        for name, count in windows.items()
    }


SKYWORK = [
    segment("one", 4000, zh=0.55, en=0.35, code=0.1),
    segment("two", 3210, zh=0.5, en=0.3, code=0.1, fresh=0.1),
    segment(
        "stem", 5000, zh=0.5, en=0.4, code=0.1,
        stem=ramp(0.025, 0.10, 0.05), stem_seen=ramp(0.075, 0.30, 0.15),
    ),
]  # fmt: skip
SOURCES = {
    "zh": 1300,
    "en": 1000,
    "code": 400,
    "fresh": 90,
    "stem": 60,
    "stem_seen": 170,
    "rest": 0,
}


def skywork_plan(
    count: int = 3,
    sources: dict[str, int] = SOURCES,
    max_epochs: float = 5,
    exhausted: str = "stop",
    **changes: object,
) -> Plan:
    arguments: dict = {"seed": 7, "sequence_tokens": 1, "block_samples": 64, **changes}
    return Plan(
        sources=sizes(sources, arguments["sequence_tokens"]),
        segments=SKYWORK[:count],
        epochs=EpochConfig(max_epochs=max_epochs, exhausted=exhausted),
        **arguments,
    )


# ------------------------------------------------------------ shares

weights = st.lists(st.floats(0, 1), min_size=1, max_size=24).filter(lambda w: sum(w) > 0.01)


@settings(deadline=None)
@given(weights, st.integers(1, 300), st.integers(1, 200), st.integers(0, 300))
def test_no_source_is_ever_more_than_one_sample_off_its_share(
    weights: list[float], block: int, blocks: int, short: int
) -> None:
    share = np.array(weights) / sum(weights)
    ends = np.arange(1, blocks + 1, dtype=np.int64) * block
    ends[-1] -= min(short, block - 1)
    counts = apportion(share * ends[:, None], ends)
    assert (counts.sum(axis=1) == ends).all()
    assert (np.diff(counts, axis=0, prepend=0) >= 0).all()
    assert np.abs(counts - share * ends[:, None]).max() <= 1 + 1e-6


@st.composite
def mixtures(draw: st.DrawFn) -> dict[str, float | Ramp]:
    """Up to four ramps, rising and falling, that take at most the whole, and plain sources."""
    room = 1.0
    mixture: dict[str, float | Ramp] = {}
    for number in range(draw(st.integers(0, 4))):
        start, end = draw(st.floats(0, room)), draw(st.floats(0, room))
        if abs(start - end) < 1e-3:
            continue
        mean = start + (end - start) * draw(st.floats(0.05, 0.95))
        mixture[f"ramp{number}"] = Ramp(from_=start, to=end, mean=mean)
        room -= max(start, end)
    plain = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
    for number, weight in enumerate(plain):
        mixture[f"plain{number}"] = weight / sum(plain)
    return mixture


@settings(deadline=None)
@given(mixtures(), st.integers(1, 20_000), st.integers(1, 300))
def test_shares_of_ramps_are_never_more_than_one_sample_off_either(
    mixture: dict[str, float | Ramp], samples: int, block: int
) -> None:
    names = sorted(mixture)
    plan = Plan(
        1,
        1,
        sizes(dict.fromkeys(names, 10**6)),
        [SegmentMixture(name="s", tokens=samples, mixture=mixture)],
        block_samples=block,
    )
    ends = np.minimum(np.arange(1, -(-samples // block) + 1) * block, samples)
    counts = plan.layouts[0].segment.counts[1:].astype(np.int64)
    assert (counts.sum(axis=1) == ends).all()
    # The share's integral, written out once more: from t + (to - from) t^(p+1) / (p+1).
    t = ends / samples
    rest = np.ones(len(ends)) * ends
    for name in names:
        share = mixture[name]
        if isinstance(share, Ramp):
            p = (share.to - share.from_) / (share.mean - share.from_) - 1
            wanted = samples * (share.from_ * t + (share.to - share.from_) * t ** (p + 1) / (p + 1))
            assert np.abs(counts[:, names.index(name)] - wanted).max() <= 1 + 1e-6
            rest = rest - wanted
    for name in names:
        share = mixture[name]
        if not isinstance(share, Ramp):
            assert np.abs(counts[:, names.index(name)] - share * rest).max() <= 1 + 1e-6


def test_many_small_sources_served_early_do_not_break_the_blocks() -> None:
    """Mixtures of this kind make "the rest to the largest deficit" owe more than a block."""
    rng = np.random.default_rng(0)
    ends = np.arange(1, 600, dtype=np.int64) * 64
    for _ in range(60):
        share = rng.dirichlet(np.full(rng.integers(2, 25), 0.1))
        counts = apportion(share * ends[:, None], ends)
        assert (counts.sum(axis=1) == ends).all()
        assert np.abs(counts - share * ends[:, None]).max() < 1 + 1e-6


def test_targets_in_whole_units_rise_and_sum_exactly() -> None:
    ends = np.arange(1, 100, dtype=np.int64) * 64
    mixture = {"a": Ramp(from_=0.0, to=1.0, mean=0.01), "b": 0.3, "c": 0.7}
    exact = whole_targets(targets(mixture, int(ends[-1]), ends), ends)
    assert (exact.sum(axis=1) == ends << 30).all()
    assert (np.diff(exact, axis=0) >= 0).all()


def test_the_reports_stem_ramp_is_the_square_of_time() -> None:
    # Skywork-13B report, section 3.2: 10 % to 40 %, 20 % on average: 10 + 30 t^2.
    assert Ramp(from_=0.10, to=0.40, mean=0.20).exponent == pytest.approx(2, abs=1e-12)


def test_two_ramps_at_once_go_from_10_to_40_percent_with_20_on_average() -> None:
    plan = skywork_plan()
    shares = realised(plan)[2]["shares"]
    assert shares["stem"] + shares["stem_seen"] == pytest.approx(0.20, abs=2 / 5000)
    assert shares["stem_seen"] == pytest.approx(0.15, abs=1 / 5000)
    curve = summary(plan)["segments"][2]["curve"]
    together = [point["shares"]["stem"] + point["shares"]["stem_seen"] for point in curve]
    assert len(curve) == 20
    assert together[0] == pytest.approx(0.10, abs=0.015)
    assert together[-1] == pytest.approx(0.40, abs=0.03)
    # The sources without a ramp keep their proportions: 5 to 4 to 1.
    assert shares["zh"] == pytest.approx(0.8 * 0.5, abs=1 / 5000)
    assert shares["en"] == pytest.approx(0.8 * 0.4, abs=1 / 5000)


def test_a_mixture_of_ramps_alone_may_fill_the_whole() -> None:
    plan = Plan(
        1,
        1,
        sizes({"a": 999, "b": 999}),
        [segment("s", 999, a=ramp(0.1, 0.4, 0.2), b=ramp(0.9, 0.6, 0.8))],
    )
    assert realised(plan)[0]["shares"]["a"] == pytest.approx(0.2, abs=1 / 999)


def test_plain_shares_beside_a_ramp_may_be_written_three_ways() -> None:
    written = [
        segment("s", 1000, a=0.75, b=0.25, r=ramp(0.1, 0.4, 0.2)),  # of what the ramp leaves
        segment("s", 1000, a=0.6, b=0.2, r=ramp(0.1, 0.4, 0.2)),  # of the segment
        segment("s", 1000, a=0.675, b=0.225, r=ramp(0.1, 0.4, 0.2)),  # of the segment's start
    ]
    plans = [Plan(1, 1, sizes({"a": 999, "b": 999, "r": 999}), [item]) for item in written]
    numbers = np.arange(1000)
    for plan in plans[1:]:
        assert same_places(plan, plans[0], numbers)


# ------------------------------------------------------------ order


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(size: int, key: int) -> None:
    images = permute(np.arange(size), size, np.uint64(key))
    assert np.array_equal(np.sort(images), np.arange(size))


def test_permutations_of_different_keys_and_sizes_differ_and_spread() -> None:
    images = np.stack([permute(np.arange(1000), 1000, key_of("test", k)) for k in range(200)])
    # Every place sees every value about as often: the mean of 200 draws of 0..999.
    assert np.abs(images.mean(axis=0) - 499.5).max() < 5 * 288.7 / np.sqrt(200)
    # A permutation has one fixed point on average.
    assert (images == np.arange(1000)).sum(axis=1).mean() == pytest.approx(1, abs=0.4)
    neighbours = np.abs(np.diff(images, axis=1)).mean()
    assert neighbours == pytest.approx(1000 / 3, rel=0.02)


def test_the_mixing_function_is_splitmix64() -> None:
    # First outputs of Vigna's splitmix64.c for the seed 1234567.
    state = np.uint64(1234567) + np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found = [int(mix(value)) for value in state]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def read(plan: Plan, numbers: np.ndarray) -> list[tuple[int, str, int, int]]:
    """(segment, source name, epoch, window) of each sample: what is really read."""
    at = plan.locate(numbers)
    names = [plan.names[source] for source in at.source]
    return list(zip(at.segment.tolist(), names, at.epoch.tolist(), at.window.tolist(), strict=True))


def same_places(one: Plan, other: Plan, numbers: np.ndarray) -> bool:
    pairs = zip(one.locate(numbers), other.locate(numbers), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_every_window_is_read_exactly_once_in_every_epoch_across_segments() -> None:
    plan = skywork_plan()
    at = plan.locate(np.arange(plan.samples))
    for index, name in enumerate(plan.names):
        here = at.source == index
        mine = np.sort(at.draw[here])
        assert np.array_equal(mine, np.arange(mine.size)), "draws have gaps or repeats"
        if not mine.size:
            continue
        times = Counter(zip(at.epoch[here].tolist(), at.window[here].tolist(), strict=True))
        assert set(times.values()) == {1}
        full = mine.size // SOURCES[name]
        assert all((e, w) in times for e in range(full) for w in range(SOURCES[name]))
    assert realised(plan)[-1]["epochs"]["zh"] > 4  # several epochs were really tested


@settings(deadline=None)
@given(st.data())
def test_samples_are_the_same_at_any_world_size_and_batch_cut(data: st.DataObject) -> None:
    plan = skywork_plan()
    whole = plan.locate(np.arange(plan.samples))
    first = data.draw(st.integers(0, plan.samples - 1))
    count = data.draw(st.integers(1, min(500, plan.samples - first)))
    world = data.draw(st.sampled_from([1, 2, 3, 8]))
    batch = data.draw(st.integers(1, 100))
    for start in range(first, first + count, batch):
        numbers = np.arange(start, min(start + batch, first + count))
        for rank in range(world):
            mine = numbers[rank::world]
            for found, expected in zip(plan.locate(mine), whole, strict=True):
                assert np.array_equal(found, expected[mine])


def test_an_appended_segment_changes_no_earlier_sample() -> None:
    numbers = np.arange(0, 7210, 13)
    long = read(skywork_plan(3), numbers)
    assert read(skywork_plan(2), numbers) == long
    # The appended segment may bring a source that stood nowhere before, at any place.
    more = {"aaa": 400, **SOURCES, "zzz": 10}
    plan = Plan(
        7, 1, sizes(more), [*SKYWORK, segment("on", 500, aaa=0.5, zh=0.5)],
        EpochConfig(max_epochs=9), 64,
    )  # fmt: skip
    assert read(plan, numbers) == long
    short = skywork_plan(2, max_epochs=9)
    assert summary(plan)["segments"][:2] == summary(short)["segments"]
    assert plan.fingerprint(short.samples) == short.fingerprint()
    assert plan.fingerprint() != short.fingerprint()


def test_counters_go_on_through_segments() -> None:
    plan = skywork_plan()
    at = plan.locate(np.arange(4000, 7210))
    assert at.draw[at.source == plan.names.index("zh")].min() == 2200  # 55 % of 4,000
    assert at.draw[at.source == plan.names.index("fresh")].min() == 0


def test_the_order_of_sources_and_shares_in_a_recipe_means_nothing() -> None:
    turned = [
        SegmentMixture(name=s.name, tokens=s.tokens, mixture=dict(reversed(s.mixture.items())))
        for s in SKYWORK
    ]
    plan = Plan(7, 1, sizes(dict(reversed(SOURCES.items()))), turned, block_samples=64)
    numbers = np.arange(0, plan.samples, 29)
    assert read(plan, numbers) == read(skywork_plan(), numbers)


@pytest.mark.parametrize("change", [{"seed": 8}, {"block_samples": 32}])
def test_seed_and_block_are_part_of_the_order(change: dict) -> None:
    numbers = np.arange(300)
    other = skywork_plan(**change)
    assert read(other, numbers) != read(skywork_plan(), numbers)
    assert other.fingerprint() != skywork_plan().fingerprint()


def test_the_order_is_the_one_of_every_earlier_version() -> None:
    """Golden: a change here means that runs in progress would read other data."""
    assert read(skywork_plan(), np.array([0, 1, 63, 64, 4000, 7210, 12209])) == GOLDEN


# Recorded when the order was fixed (`ORDER` 2 of skywright.tokens.plan).
GOLDEN = [
    (0, "code", 0, 150),
    (0, "en", 0, 232),
    (0, "en", 0, 872),
    (0, "zh", 0, 521),
    (1, "en", 1, 171),
    (2, "zh", 2, 749),
    (2, "zh", 4, 1007),
]


def test_neighbouring_samples_are_mixed() -> None:
    plan = skywork_plan()
    sources = plan.locate(np.arange(64)).source
    assert len(set(sources[:10].tolist())) > 1
    changes = int((np.diff(sources) != 0).sum())
    assert changes > 20, "sources stand in runs: the block is not permuted"


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 40))
def test_single_source_plans_of_any_size_read_every_window(
    windows: int, epochs: int, block: int
) -> None:
    plan = Plan(
        3, 2, sizes({"a": windows}, 2), [segment("s", windows * epochs * 2, a=1.0)],
        EpochConfig(max_epochs=epochs), block,
    )  # fmt: skip
    found = plan.locate(np.arange(plan.samples)).window
    assert (np.bincount(found, minlength=windows) == epochs).all()


# ------------------------------------------------------------ summary


def test_summary_is_json_and_adds_up() -> None:
    plan = skywork_plan(sequence_tokens=1)
    told = json.loads(json.dumps(summary(plan), allow_nan=False))
    assert [s["first_sample"] for s in told["segments"]] == [0, 4000, 7210]
    for part in told["segments"]:
        assert sum(part["shares"].values()) == pytest.approx(1)
        assert part["curve"][-1]["tokens"] == part["first_sample"] + part["samples"]
        for point in part["curve"]:
            assert sum(point["shares"].values()) == pytest.approx(1)
        flat = [p if isinstance(p, float) else p[2] for p in part["planned"].values()]
        assert sum(flat) == pytest.approx(1)
    assert told["segments"][2]["planned"]["stem"] == [0.025, 0.1, 0.05]
    assert told["segments"][0]["epochs"]["zh"] == pytest.approx(2200 / 1300)
    assert told["segments"][2]["epochs"]["zh"] == pytest.approx(
        (2200 + 1605 + 2000) / 1300, abs=1 / 1300
    )
    assert told["sources"]["zh"] == {"tokens": 1301, "windows": 1300}
