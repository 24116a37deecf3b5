"""Samples read from real shards through the plan."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokens import Loader, Plan, SegmentMixture, Shards, SourceSize, build
from skywright.tokens.infilling import InfillingConfig
from skywright.tokens.loader import prefetch
from tests.tokens.conftest import SmallTokenizer
from tests.tokens.test_build import CONFIG, SMALL_SHARDS, many, whole

__all__ = ["many"]

LENGTH = 64


@pytest.fixture(scope="module")
def shards(
    documents: list[Path], tokenizer: SmallTokenizer, tmp_path_factory: pytest.TempPathFactory
) -> Shards:
    out = tmp_path_factory.mktemp("tokens")
    build(CONFIG, documents, tokenizer, out)
    return Shards.open(out, tokenizer.fingerprint)


def plan_of(shards: Shards, more: int = 0) -> Plan:
    mixture = {"zh": 0.5, "en": 0.3, "code": {"from": 0.1, "to": 0.4, "mean": 0.2}}
    segments = [
        {"name": "a", "tokens": 400 * LENGTH, "mixture": {"zh": 0.5, "en": 0.5}},
        {"name": "b", "tokens": 300 * LENGTH, "mixture": mixture},
    ]
    segments += [{"name": f"c{i}", "tokens": 90 * LENGTH, "mixture": mixture} for i in range(more)]
    return Plan(
        11,
        LENGTH,
        shards.sizes([LENGTH]),
        [SegmentMixture.model_validate(item) for item in segments],
        block_samples=32,
    )


@pytest.fixture(scope="module")
def loader(shards: Shards) -> Loader:
    return Loader(shards, plan_of(shards))


def test_a_sample_is_its_window_of_the_flat_file(loader: Loader, shards: Shards) -> None:
    got = loader.samples(395, 20)
    assert got.dtype == np.int64
    assert got.shape == (20, LENGTH + 1)
    places = loader.plan.locate(np.arange(395, 415))
    for row, source, window in zip(got, places.source, places.window, strict=True):
        start = int(window) * LENGTH
        stream = whole(shards, loader.plan.names[source])
        assert np.array_equal(row, stream[start : start + LENGTH + 1])


def test_an_epoch_predicts_every_token_but_the_first_once(shards: Shards) -> None:
    windows = shards.sizes([LENGTH])["en"].windows[LENGTH]
    plan = Plan(
        5, LENGTH, shards.sizes([LENGTH]),
        [SegmentMixture(name="s", tokens=windows * LENGTH, mixture={"en": 1.0})],
    )  # fmt: skip
    labels = Loader(shards, plan).samples(0, windows)[:, 1:]
    expected = whole(shards, "en")[1 : 1 + windows * LENGTH]
    assert np.array_equal(np.sort(labels, axis=None), np.sort(expected))
    assert shards.manifest.sources["en"].tokens - 1 - windows * LENGTH < LENGTH


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 699), st.integers(1, 96), st.sampled_from([1, 2, 3, 8]))
def test_ranks_together_read_the_batch(loader: Loader, first: int, count: int, world: int) -> None:
    count = min(count, 700 - first)
    batch = loader.samples(first, count)
    numbers = np.arange(first, first + count)
    for rank in range(world):
        assert np.array_equal(loader.rows(numbers[rank::world]), batch[rank::world])
    single = [loader.samples(int(number), 1)[0] for number in numbers[:5]]
    assert np.array_equal(np.stack(single), batch[:5])


def test_an_appended_segment_changes_no_earlier_token(loader: Loader, shards: Shards) -> None:
    longer = Loader(shards, plan_of(shards, more=2))
    assert np.array_equal(longer.samples(0, 700), loader.samples(0, 700))
    assert longer.plan.samples == 880


def test_nothing_is_read_for_no_samples(loader: Loader) -> None:
    assert loader.samples(3, 0).shape == (0, LENGTH + 1)


def test_a_plan_of_other_shards_is_refused(shards: Shards) -> None:
    part = [SegmentMixture(name="s", tokens=640, mixture={"en": 1.0})]
    here, declared = shards.sizes([LENGTH])["en"], SourceSize.declared(999, [LENGTH])
    with pytest.raises(UserError, match="no source 'fr'"):
        Loader(shards, Plan(1, LENGTH, {"en": here, "fr": declared}, part))
    with pytest.raises(UserError, match=r"'en' has [\d,]+ tokens .*the plan was made for 999"):
        Loader(shards, Plan(1, LENGTH, {"en": declared}, part))
    other = SourceSize(here.tokens, here.windows, "0" * 64)
    with pytest.raises(UserError, match=r"made for [\d,]+ \(000000000000\)"):
        Loader(shards, Plan(1, LENGTH, {"en": other}, part))


def test_windows_cross_the_bounds_of_shards(
    many: list[Path], tokenizer: SmallTokenizer, tmp_path: Path
) -> None:
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "out")
    shards = Shards.open(tmp_path / "out")
    lengths = [shard.tokens for shard in shards.manifest.sources["en"].shards]
    length = max(lengths) + 1  # every window lies in two shards or three
    for n in (LENGTH, length):
        windows = shards.sizes([n])["en"].windows[n]
        part = SegmentMixture(name="s", tokens=windows * n, mixture={"en": 1.0})
        loader = Loader(shards, Plan(5, n, {"en": shards.sizes([n])["en"]}, [part]))
        stream = whole(shards, "en")
        for row, at in zip(
            loader.samples(0, windows), loader.plan.locate(np.arange(windows)).window, strict=True
        ):
            assert np.array_equal(row, stream[at * n : at * n + n + 1])


# ------------------------------------------------------------ batches


def test_a_batch_is_inputs_and_the_tokens_after_them(loader: Loader) -> None:
    rows = loader.samples(7, 5)
    batch = loader.batch(range(7, 12))
    assert np.array_equal(batch.inputs, rows[:, :-1])
    assert np.array_equal(batch.labels, rows[:, 1:])
    assert np.shares_memory(batch.inputs, batch.labels), "the rows were copied"
    assert batch.documents is None


def test_documents_begin_where_bos_stands(loader: Loader, shards: Shards) -> None:
    batch = loader.batch(range(380, 420), documents=True)
    found = batch.documents
    assert found is not None
    begins = batch.inputs == shards.manifest.bos_id
    begins[:, 0] = True
    assert np.array_equal(found.bounds[:-1], np.flatnonzero(begins))
    assert found.bounds[-1] == batch.inputs.size
    assert begins.sum() > len(begins), "no row holds two documents: the test shows nothing"
    expected = np.zeros_like(batch.inputs)
    for row in range(len(expected)):
        for k in range(1, LENGTH):
            expected[row, k] = 0 if begins[row, k] else expected[row, k - 1] + 1
    assert np.array_equal(found.positions, expected)


def test_documents_across_shards_are_those_of_one(
    many: list[Path], tokenizer: SmallTokenizer, shards: Shards, tmp_path: Path
) -> None:
    build(SMALL_SHARDS, many, tokenizer, tmp_path / "out")
    small = Shards.open(tmp_path / "out")
    part = SegmentMixture(name="s", tokens=40 * LENGTH, mixture={"en": 1.0})
    batch = Loader(small, Plan(1, LENGTH, small.sizes([LENGTH]), [part])).batch(range(40), True)
    begins = batch.inputs == small.manifest.bos_id
    begins[:, 0] = True
    assert batch.documents is not None
    assert np.array_equal(batch.documents.bounds[:-1], np.flatnonzero(begins))


def test_batches_read_ahead_are_the_batches(loader: Loader) -> None:
    cuts = [range(7), range(7, 8), range(300, 340)]
    ahead = list(loader.batches(cuts, ahead=2))
    for numbers, batch in zip(cuts, ahead, strict=True):
        assert np.array_equal(batch.inputs, loader.batch(numbers).inputs)


def test_a_run_goes_on_from_any_sample_number(loader: Loader) -> None:
    cuts = [range(start, start + 20) for start in range(0, 700, 20)]
    undisturbed = [batch.inputs for batch in loader.batches(cuts)]
    for stopped in (1, 13, 34):
        rest = [batch.inputs for batch in loader.batches(cuts[stopped:])]
        assert all(np.array_equal(a, b) for a, b in zip(undisturbed[stopped:], rest, strict=True))


def test_prefetch_keeps_the_order_passes_errors_on_and_stops_when_left() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        if number == 5:
            raise UserError("five")
        return number * 10

    ahead = prefetch(make, range(9), ahead=2)
    assert [next(ahead) for _ in range(5)] == [0, 10, 20, 30, 40]
    with pytest.raises(UserError, match="five"):
        next(ahead)
    made.clear()
    left = prefetch(make, range(100, 900), ahead=3)
    assert next(left) == 1000
    left.close()
    assert len(made) <= 5


# ------------------------------------------------------------ packing and infilling


def packed_loader(shards: Shards, **more: object) -> Loader:
    part = SegmentMixture(name="s", tokens=300 * LENGTH, mixture={"en": 0.5, "code": 0.5})
    plan = Plan(2, LENGTH, shards.sizes([LENGTH], "best_fit", ["en", "code"]), [part])
    return Loader(shards, plan, "best_fit", **more)


def test_packed_rows_hold_whole_documents_or_pieces_of_long_ones(shards: Shards) -> None:
    loader = packed_loader(shards)
    batch = loader.batch(range(300), documents=True)
    rows = loader.samples(0, 300)
    places = loader.plan.locate(np.arange(300))
    for i in range(300):
        name = loader.plan.names[places.source[i]]
        packing, stream = shards.packing(name, LENGTH), whole(shards, name)
        at = packing.window_offsets[places.window[i] : places.window[i] + 2]
        pieces = [stream[packing.piece_starts[j] :][: packing.piece_lengths[j]] for j in range(*at)]
        expected = np.concatenate(pieces)
        assert np.array_equal(rows[i, : expected.size], expected)
        assert (rows[i, expected.size :] == -1).all()
        # Labels: the next token of the same piece, and nothing else.
        labels = np.full(LENGTH + 1, -100)
        upto = 0
        for piece in pieces:
            labels[upto : upto + piece.size - 1] = piece[1:]
            upto += piece.size
        assert np.array_equal(batch.labels[i], labels[:LENGTH])
    assert batch.inputs.min() >= 0
    assert batch.documents is not None
    assert batch.documents.bounds[-1] == batch.inputs.size


def test_packed_documents_never_share_attention_with_padding(shards: Shards) -> None:
    loader = packed_loader(shards)
    batch, rows = loader.batch(range(300), documents=True), loader.samples(0, 300)[:, :-1]
    assert batch.documents is not None
    bounds = batch.documents.bounds
    flat = rows.ravel()
    assert (flat == -1).any(), "no row is padded: the test shows nothing"
    for first, last in pairwise(bounds):
        part = flat[first:last] == -1
        assert part.all() or not part.any()


def settings_for(shards: Shards, rate: float) -> InfillingConfig:
    return InfillingConfig(rate=rate, prefix_id=590, middle_id=591, suffix_id=592)


def test_infilling_changes_only_the_sources_it_names(loader: Loader, shards: Shards) -> None:
    changed = Loader(shards, loader.plan, infilling={"code": settings_for(shards, 1.0)})
    numbers = np.arange(400, 700)
    before, after = loader.rows(numbers), changed.rows(numbers)
    code = loader.plan.locate(numbers).source == loader.plan.names.index("code")
    assert np.array_equal(before[~code], after[~code])
    assert ((after[code] == 590).any(axis=1)).mean() > 0.9
    # The same in any batch.
    assert np.array_equal(changed.rows(numbers[::7]), after[::7])
    nothing = Loader(shards, loader.plan, infilling={"code": settings_for(shards, 0.0)})
    assert np.array_equal(nothing.rows(numbers), before)


def test_documents_that_moved_are_told_where_they_stand(shards: Shards) -> None:
    plain = packed_loader(shards).batch(range(300), documents=True)
    loader = packed_loader(shards, infilling={"en": settings_for(shards, 1.0)})
    batch = loader.batch(range(300), documents=True)
    assert batch.documents is not None
    assert plain.documents is not None
    begins = np.zeros(batch.inputs.size, dtype=bool)
    begins[batch.documents.bounds[:-1]] = True
    bos = (batch.inputs == shards.manifest.bos_id).ravel()
    assert begins[bos].all()
    assert not np.array_equal(batch.documents.bounds, plain.documents.bounds)
    wrong = InfillingConfig(prefix_id=9999, middle_id=1, suffix_id=2)
    with pytest.raises(UserError, match=r"infilling\.prefix_id: 9,999 is beyond the vocabulary"):
        Loader(shards, loader.plan, "best_fit", infilling={"en": wrong})


def test_samples_of_two_lengths_do_not_stand_in_one_batch(shards: Shards) -> None:
    parts = [
        SegmentMixture(name="a", tokens=10 * LENGTH, mixture={"en": 1.0}),
        SegmentMixture(name="b", tokens=80 * LENGTH, mixture={"en": 1.0}, sequence_tokens=128),
    ]
    loader = Loader(shards, Plan(1, LENGTH, shards.sizes([LENGTH, 128]), parts))
    assert loader.samples(10, 4).shape == (4, 129)
    assert loader.batch(range(10, 14), documents=True).inputs.shape == (4, 128)
    with pytest.raises(ValueError, match=r"samples of \[64, 128\] tokens"):
        loader.samples(8, 4)
