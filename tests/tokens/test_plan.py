"""The training order: exact shares, exactly-once epochs, independence of batches."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.tokens import Plan, Ramp, SegmentMixture
from skywright.tokens.apportion import apportion, whole_targets
from skywright.tokens.mixture import targets
from skywright.tokens.permute import block_orders, key_of, mix, permute


def segment(name: str, tokens: int | str, **shares: float | dict) -> SegmentMixture:
    return SegmentMixture.model_validate({"name": name, "tokens": tokens, "mixture": shares})


def ramp(start: float, end: float, mean: float) -> dict:
    return {"from": start, "to": end, "mean": mean}


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


def skywork_plan(count: int = 3, **changes: object) -> Plan:
    arguments: dict = {"seed": 7, "sequence_tokens": 1, "sources": SOURCES, "block_samples": 64}
    return Plan(segments=SKYWORK[:count], **{**arguments, **changes})


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
        dict.fromkeys(names, 10**6),
        [SegmentMixture(name="s", tokens=samples, mixture=mixture)],
        block_samples=block,
    )
    ends = np.minimum(np.arange(1, -(-samples // block) + 1) * block, samples)
    counts = plan._layouts[0].counts[1:].astype(np.int64)
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
    assert Ramp(from_=0.10, to=0.40, mean=0.20).power == pytest.approx(2, abs=1e-12)


def test_two_ramps_at_once_go_from_10_to_40_percent_with_20_on_average() -> None:
    plan = skywork_plan()
    shares = plan.realised()[2]["shares"]
    assert shares["stem"] + shares["stem_seen"] == pytest.approx(0.20, abs=2 / 5000)
    assert shares["stem_seen"] == pytest.approx(0.15, abs=1 / 5000)
    curve = plan.summary()["segments"][2]["curve"]
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
        {"a": 999, "b": 999},
        [segment("s", 999, a=ramp(0.1, 0.4, 0.2), b=ramp(0.9, 0.6, 0.8))],
    )
    assert plan.realised()[0]["shares"]["a"] == pytest.approx(0.2, abs=1 / 999)


def test_plain_shares_beside_a_ramp_may_be_written_three_ways() -> None:
    written = [
        segment("s", 1000, a=0.75, b=0.25, r=ramp(0.1, 0.4, 0.2)),  # of what the ramp leaves
        segment("s", 1000, a=0.6, b=0.2, r=ramp(0.1, 0.4, 0.2)),  # of the segment
        segment("s", 1000, a=0.675, b=0.225, r=ramp(0.1, 0.4, 0.2)),  # of the segment's start
    ]
    plans = [Plan(1, 1, {"a": 999, "b": 999, "r": 999}, [item]) for item in written]
    numbers = np.arange(1000)
    for plan in plans[1:]:
        for one, other in zip(plans[0].locate(numbers), plan.locate(numbers), strict=True):
            assert np.array_equal(one, other)


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
    assert mix(state).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_block_orders_permute_each_block_and_leave_the_lacking_places_last() -> None:
    orders = block_orders(np.array([0, 1, 9]), np.array([8, 8, 5]), key_of("k"))
    for row, size in zip(orders, (8, 8, 5), strict=True):
        assert sorted(row[:size]) == list(range(size))
        assert row[size:].tolist() == list(range(size, 8))
    assert not np.array_equal(orders[0], orders[1])


def read(plan: Plan, numbers: np.ndarray) -> list[tuple[int, str, int, int]]:
    """(segment, source name, epoch, window) of each sample: what is really read."""
    result = []
    for part, source, draw in zip(*plan.locate(numbers), strict=True):
        epoch, window = plan.window(int(source), np.array([draw]))
        result.append((int(part), plan.names[source], int(epoch[0]), int(window[0])))
    return result


def test_every_window_is_read_exactly_once_in_every_epoch_across_segments() -> None:
    plan = skywork_plan()
    _, sources, draws = plan.locate(np.arange(plan.samples))
    for index, name in enumerate(plan.names):
        mine = np.sort(draws[sources == index])
        assert np.array_equal(mine, np.arange(mine.size)), "draws have gaps or repeats"
        if not mine.size:
            continue
        epochs, windows = plan.window(name, mine)
        times = Counter(zip(epochs.tolist(), windows.tolist(), strict=True))
        assert set(times.values()) == {1}
        full = mine.size // SOURCES[name]
        assert all((e, w) in times for e in range(full) for w in range(SOURCES[name]))
    assert plan.realised()[-1]["epochs"]["zh"] > 4  # several epochs were really tested


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
    plan = Plan(7, 1, more, [*SKYWORK, segment("on", 500, aaa=0.5, zh=0.5)], 9, 64)
    assert read(plan, numbers) == long
    short = skywork_plan(2, max_epochs=9)
    assert plan.summary()["segments"][:2] == short.summary()["segments"]
    assert plan.fingerprint(short.samples) == short.fingerprint()
    assert plan.fingerprint() != short.fingerprint()


def test_counters_go_on_through_segments() -> None:
    plan = skywork_plan()
    _, sources, draws = plan.locate(np.arange(4000, 7210))
    zh = plan.names.index("zh")
    assert draws[sources == zh].min() == 2200  # 55 % of segment one's 4,000
    assert draws[sources == plan.names.index("fresh")].min() == 0


def test_the_order_of_sources_and_shares_in_a_recipe_means_nothing() -> None:
    turned = [
        SegmentMixture(name=s.name, tokens=s.tokens, mixture=dict(reversed(s.mixture.items())))
        for s in SKYWORK
    ]
    plan = Plan(7, 1, dict(reversed(SOURCES.items())), turned, block_samples=64)
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


# Recorded when the order was fixed (format "order": 1 of Plan.fingerprint).
GOLDEN = [
    (0, "en", 0, 562),
    (0, "code", 0, 290),
    (0, "code", 0, 158),
    (0, "zh", 0, 516),
    (1, "en", 1, 980),
    (2, "zh", 2, 205),
    (2, "stem", 4, 46),
]


def test_neighbouring_samples_are_mixed() -> None:
    plan = skywork_plan()
    _, sources, _ = plan.locate(np.arange(64))
    assert len(set(sources[:10].tolist())) > 1
    changes = int((np.diff(sources) != 0).sum())
    assert changes > 20, "sources stand in runs: the block is not permuted"


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 40))
def test_single_source_plans_of_any_size_read_every_window(
    windows: int, epochs: int, block: int
) -> None:
    plan = Plan(3, 2, {"a": windows}, [segment("s", windows * epochs * 2, a=1.0)], epochs, block)
    _, _, draws = plan.locate(np.arange(plan.samples))
    _, found = plan.window("a", draws)
    assert (np.bincount(found, minlength=windows) == epochs).all()


# ------------------------------------------------------------ summary


def test_summary_is_json_and_adds_up() -> None:
    plan = skywork_plan(sequence_tokens=1)
    summary = json.loads(json.dumps(plan.summary(), allow_nan=False))
    assert [s["first_sample"] for s in summary["segments"]] == [0, 4000, 7210]
    for part in summary["segments"]:
        assert sum(part["shares"].values()) == pytest.approx(1)
        assert part["curve"][-1]["tokens"] == part["first_sample"] + part["samples"]
        for point in part["curve"]:
            assert sum(point["shares"].values()) == pytest.approx(1)
        flat = [p if isinstance(p, float) else p[2] for p in part["planned"].values()]
        assert sum(flat) == pytest.approx(1)
    assert summary["segments"][2]["planned"]["stem"] == [0.025, 0.1, 0.05]
    assert summary["segments"][0]["epochs"]["zh"] == pytest.approx(2200 / 1300)
    assert summary["segments"][2]["epochs"]["zh"] == pytest.approx(
        (2200 + 1605 + 2000) / 1300, abs=1 / 1300
    )
    assert summary["sources"]["zh"] == {"tokens": 1300, "windows": 1300}
