"""Best-fit packing: every token once, no window overfull, no document cut that fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.errors import UserError
from skywright.tokens.packing import Packing, compare, pack

LENGTHS = st.lists(st.integers(0, 40), max_size=60)
CAPACITY = st.integers(2, 17)


def pieces_of(lengths: list[int], capacity: int, overlap: int) -> list[tuple[int, int]]:
    """(start, length) of every piece, one document after another, token by token."""
    found, start = [], 0
    for length in lengths:
        at = 0
        while at < length:
            found.append((start + at, min(capacity, length - at)))
            if at + capacity >= length:
                break
            at += capacity - overlap
        start += length
    return found


def best_fit_decreasing(sizes: list[int], capacity: int) -> list[int]:
    """The room left in each window, by the plain quadratic method."""
    rooms: list[int] = []
    for size in sorted(sizes, reverse=True):
        fitting = [i for i, room in enumerate(rooms) if room >= size]
        if fitting:
            rooms[min(fitting, key=lambda i: rooms[i])] -= size
        else:
            rooms.append(capacity - size)
    return rooms


def windows(packing: Packing) -> list[list[tuple[int, int]]]:
    pieces = list(zip(packing.piece_starts.tolist(), packing.piece_lengths.tolist(), strict=True))
    edges = packing.window_offsets.tolist()
    return [pieces[a:b] for a, b in pairwise(edges)]


@settings(max_examples=300, deadline=None)
@given(LENGTHS, CAPACITY, st.integers(0, 1))
def test_pieces_are_the_documents_cut_only_where_they_must_be(
    lengths: list[int], capacity: int, overlap: int
) -> None:
    packing = pack(lengths, capacity, overlap)
    found = sorted(piece for window in windows(packing) for piece in window)
    assert found == pieces_of(lengths, capacity, overlap)


@settings(max_examples=300, deadline=None)
@given(LENGTHS, CAPACITY)
def test_every_token_is_in_one_piece(lengths: list[int], capacity: int) -> None:
    packing = pack(lengths, capacity)
    tokens = np.concatenate(
        [np.arange(s, s + n) for window in windows(packing) for s, n in window] or [[]]
    )
    assert sorted(tokens.tolist()) == list(range(sum(lengths)))


@settings(max_examples=300, deadline=None)
@given(LENGTHS, CAPACITY)
def test_with_an_overlap_of_one_every_token_but_a_documents_first_is_learned_once(
    lengths: list[int], capacity: int
) -> None:
    packing = pack(lengths, capacity, overlap_tokens=1)
    learned = [t for window in windows(packing) for s, n in window for t in range(s + 1, s + n)]
    ends = np.cumsum(lengths, dtype=np.int64)
    firsts = set((ends - lengths)[np.array(lengths, dtype=np.int64) > 0].tolist())
    assert sorted(learned) == [t for t in range(sum(lengths)) if t not in firsts]


@settings(max_examples=300, deadline=None)
@given(LENGTHS, CAPACITY, st.integers(0, 1))
def test_windows_are_filled_as_the_plain_method_fills_them(
    lengths: list[int], capacity: int, overlap: int
) -> None:
    packing = pack(lengths, capacity, overlap)
    fills = [sum(n for _, n in window) for window in windows(packing)]
    assert all(0 < fill <= capacity for fill in fills)
    sizes = [n for _, n in pieces_of(lengths, capacity, overlap)]
    wanted = sorted(capacity - room for room in best_fit_decreasing(sizes, capacity))
    assert sorted(fills) == wanted


def test_many_documents_pack_as_the_plain_method_packs_them() -> None:
    rng = np.random.default_rng(0)
    lengths = np.maximum(1, rng.lognormal(5, 1.2, 3000)).astype(np.int64)
    packing = pack(lengths, 1025)
    sizes = [n for _, n in pieces_of(lengths.tolist(), 1025, 0)]
    fills = np.add.reduceat(packing.piece_lengths, packing.window_offsets[:-1])
    assert sorted(1025 - fills) == sorted(best_fit_decreasing(sizes, 1025))


@settings(max_examples=100, deadline=None)
@given(LENGTHS, CAPACITY)
def test_a_windows_pieces_stand_in_the_order_of_the_stream(
    lengths: list[int], capacity: int
) -> None:
    for window in windows(pack(lengths, capacity)):
        assert window == sorted(window)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, CAPACITY)
def test_the_same_lengths_give_the_same_windows_from_any_array(
    lengths: list[int], capacity: int
) -> None:
    first = pack(lengths, capacity)
    strided = np.repeat(np.array(lengths, dtype=np.int32), 2)[::2]
    again = pack(strided, capacity)
    assert windows(first) == windows(again)
    assert first.window_offsets.dtype == first.piece_starts.dtype == np.int64
    assert first.piece_lengths.dtype == np.int32


def test_a_worked_example() -> None:
    # Ding et al., Figure 1: lengths 14, 7, 5, 2, 3 in windows of 8; only the 14 is cut.
    packing = pack([14, 7, 5, 2, 3], 8)
    assert windows(packing) == [[(0, 8)], [(14, 7)], [(8, 6), (26, 2)], [(21, 5), (28, 3)]]
    assert compare([14, 7, 5, 2, 3], packing) == (4, 31 / 32, 1 / 5, 4, 3 / 5)


def test_concatenation_is_counted_as_the_shards_windows_cut_it() -> None:
    # Windows of 5 tokens: 0..4 and 4..8 where neighbours share one, 0..4 and 5..9 where not.
    for lengths, overlap, share in (([4, 4], 1, 0), ([4, 4], 0, 1 / 2), ([3, 4], 1, 1 / 2)):
        comparison = compare(lengths, pack(lengths, 5, overlap))
        assert comparison.concatenated_cut_share == share
        assert comparison.concatenated_windows == 2
        assert comparison.cut_share == 0


def test_no_documents_make_no_windows() -> None:
    for lengths in ([], [0, 0]):
        packing = pack(np.array(lengths, dtype=np.int64), 8)
        assert packing.windows == 0
        assert packing.window_offsets.tolist() == [0]
        assert compare(lengths, packing)[:2] == (0, 1.0)


@pytest.mark.parametrize(
    ("lengths", "capacity", "overlap", "message"),
    [
        ([3, -1], 8, 0, "document 1 has -1 tokens"),
        ([3], 0, 0, "above the overlap of 0 tokens .*got 0"),
        ([3], 1, 1, "above the overlap of 1 tokens .*got 1"),
        ([3], 8, -1, "above the overlap of -1"),
        ([3], 1 << 31, 0, "below 2\\^31"),
    ],
)
def test_what_cannot_be_packed_is_refused(
    lengths: list[int], capacity: int, overlap: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        pack(lengths, capacity, overlap)
