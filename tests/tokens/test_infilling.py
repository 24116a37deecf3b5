"""Fill-in-the-middle: documents come back whole, chance is a function of the row's key alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from skywright.errors import UserError
from skywright.tokens.infilling import InfillingConfig, infill

BOS, EOS, PRE, MID, SUF, PAD = 1, 2, 3, 4, 5, 6
SENTINELS = {PRE, MID, SUF}
Ragged = list[list[list[int]]]


def config(rate: float = 0.5, spm_share: float = 0.5) -> InfillingConfig:
    return InfillingConfig(
        rate=rate, spm_share=spm_share, prefix_id=PRE, middle_id=MID, suffix_id=SUF
    )


def joined(parts: Iterable[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(parts))


def rows_of(documents: Ragged, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, offsets and lengths of documents given row by row."""
    flat = [joined(row) for row in documents]
    rows = np.array([row + [PAD] * (width - len(row)) for row in flat], dtype=np.int32)
    offsets = np.cumsum([0] + [len(row) for row in documents])
    return rows, offsets, np.array([len(d) for row in documents for d in row], dtype=np.int64)


def apart(rows: np.ndarray, offsets: np.ndarray, lengths: np.ndarray) -> Ragged:
    return [
        [part.tolist() for part in np.split(row, np.cumsum(lengths[a:b]))[:-1]]
        for row, a, b in zip(rows, offsets[:-1], offsets[1:], strict=True)
    ]


def restored(document: list[int]) -> list[int]:
    """A document put back in order, by its sentinels."""
    if not SENTINELS & set(document):
        return document
    head = document[:1] if document[0] == BOS else []
    tail = document[-1:] if document[-1] == EOS else []
    body = document[len(head) : len(document) - len(tail)]
    assert [body.count(s) for s in sorted(SENTINELS)] == [1, 1, 1]
    pre, suf, mid = body.index(PRE), body.index(SUF), body.index(MID)
    assert pre == 0
    assert suf < mid
    return head + body[1:suf] + body[mid + 1 :] + body[suf + 1 : mid] + tail


DOCUMENT = st.builds(
    lambda bos, body, eos: [BOS] * bos + body + [EOS] * eos,
    st.booleans(),
    st.lists(st.integers(10, 99), max_size=12),
    st.booleans(),
)
ROWS = st.lists(st.lists(DOCUMENT, max_size=5), min_size=1, max_size=4)
KEY = st.integers(0, 2**64 - 1)


def run(documents: Ragged, width: int, keys: list[int], how: InfillingConfig) -> Any:
    rows, offsets, lengths = rows_of(documents, width)
    result, new = infill(rows, offsets, lengths, np.array(keys, np.uint64), how, BOS, EOS)
    assert result.shape == rows.shape
    assert result.dtype == np.int32
    return result, apart(result, offsets, new)


@settings(max_examples=300, deadline=None)
@given(ROWS, KEY, st.floats(0, 1), st.floats(0, 1))
def test_with_room_to_grow_every_document_can_be_restored(
    documents: Ragged, key: int, rate: float, spm_share: float
) -> None:
    width = 5 * (14 + 3)
    keys = [(key + i) % 2**64 for i in range(len(documents))]
    result, found = run(documents, width, keys, config(rate, spm_share))
    assert [[restored(d) for d in row] for row in found] == documents
    for row, parts in zip(result, found, strict=True):
        assert set(row[sum(map(len, parts)) :].tolist()) <= {PAD}
    for old, new in zip(joined(documents), joined(found), strict=True):
        if new != old:
            assert (new[0] == BOS) == (old[0] == BOS)
            assert (new[-1] == EOS) == (old[-1] == EOS)


@settings(max_examples=300, deadline=None)
@given(ROWS, KEY, st.integers(0, 15))
def test_what_passes_the_rows_end_is_cut_from_the_end_and_examples_stay_whole(
    documents: Ragged, key: int, spare: int
) -> None:
    width = max(1, *(sum(map(len, row)) for row in documents)) + spare
    keys = [key] * len(documents)
    _, found = run(documents, width, keys, config(rate=1))
    for row, parts in zip(documents, found, strict=True):
        back = joined(restored(part) for part in parts)
        whole = joined(row)
        lost = len(whole) - len(back)
        grown = sum(len(SENTINELS & set(part)) for part in parts)
        assert back == whole[: len(back)]
        assert lost == max(0, len(whole) + grown - width)


@settings(max_examples=100, deadline=None)
@given(ROWS, KEY)
def test_at_rate_zero_nothing_changes(documents: Ragged, key: int) -> None:
    rows, offsets, lengths = rows_of(documents, 80)
    keys = np.full(len(rows), key, np.uint64)
    result, new = infill(rows, offsets, lengths, keys, config(rate=0), BOS, EOS)
    assert (result == rows).all()
    assert (new == lengths).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(10, 99), max_size=2), KEY)
def test_fewer_than_three_tokens_stay_as_they_are(body: list[int], key: int) -> None:
    for document in (body, [BOS, *body], [*body, EOS], [BOS, *body, EOS]):
        _, found = run([[document]], 20, [key], config(rate=1))
        assert found == [[document]]


@settings(max_examples=100, deadline=None)
@given(ROWS, st.lists(KEY, min_size=4, max_size=4), st.permutations(range(4)))
def test_a_row_is_the_same_in_any_batch(
    documents: Ragged, keys: list[int], order: list[int]
) -> None:
    whole, _ = run(documents, 90, keys[: len(documents)], config())
    chosen = [i for i in order if i < len(documents)]
    other, _ = run([documents[i] for i in chosen], 90, [keys[i] for i in chosen], config())
    assert (other == whole[chosen]).all()


def test_golden_rows() -> None:
    # Made by this code: what a run reads must not change between versions.
    document = [BOS, *range(10, 20), EOS]
    _, found = run([[document] * 3, [document]], 45, [7, 9], config(rate=0.7))
    assert found == [
        [
            [BOS, PRE, SUF, 19, MID, *range(10, 19), EOS],
            [BOS, PRE, 10, SUF, *range(12, 20), MID, 11, EOS],
            document,
        ],
        [[BOS, PRE, SUF, 18, 19, MID, *range(10, 18), EOS]],
    ]


def assert_share(count: int, of: int, expected: float) -> None:
    """Within four and a half standard errors: the keys are fixed, so it passes or never does."""
    assert abs(count / of - expected) < 4.5 * np.sqrt(expected * (1 - expected) / of)


@pytest.mark.parametrize(("rate", "spm_share"), [(0.5, 0.5), (0.9, 0.1)])
def test_rates_and_cuts_are_as_told(rate: float, spm_share: float) -> None:
    body = 9
    documents = [[[BOS, *range(10, 10 + body), EOS]] * 8] * 2500
    keys = list(range(2500))
    _, found = run(documents, 8 * (body + 5), keys, config(rate, spm_share))
    flat = joined(found)
    changed = [d for d in flat if PRE in d]
    assert_share(len(changed), len(flat), rate)
    # Two uniform cuts among body + 1 places: one is at the beginning so often. Then nothing
    # stands before the suffix in PSM either, and the two orders are the same.
    no_prefix = 1 - (body / (body + 1)) ** 2
    suffix_first = [d for d in changed if d[2] == SUF]
    assert_share(len(suffix_first), len(changed), spm_share + (1 - spm_share) * no_prefix)
    # In SPM and PSM alike the suffix begins at the later cut.
    later = np.array([body - (d.index(MID) - d.index(SUF) - 1) for d in changed])
    for place in range(body + 1):
        assert_share((later == place).sum(), len(changed), (2 * place + 1) / (body + 1) ** 2)


def test_documents_of_a_row_are_drawn_apart() -> None:
    documents = [[[BOS, *range(10, 30), EOS]] * 2] * 4000
    _, found = run(documents, 2 * 25, list(range(4000)), config())
    both = np.array([[PRE in d for d in row] for row in found])
    assert abs(np.corrcoef(both.T)[0, 1]) < 4 / np.sqrt(4000)
    # Neighbouring keys: no row tells of the next.
    assert abs(np.corrcoef(both[:-1, 0], both[1:, 0])[0, 1]) < 4 / np.sqrt(4000)


def test_the_rows_given_are_not_written_to() -> None:
    rows, offsets, lengths = rows_of([[[BOS, *range(10, 30), EOS]]], 40)
    before = rows.copy(), lengths.copy()
    rows.flags.writeable = lengths.flags.writeable = False
    infill(rows, offsets, lengths, np.array([3], np.uint64), config(rate=1), BOS, EOS)
    assert (rows == before[0]).all()
    assert (lengths == before[1]).all()


def test_lengths_of_other_rows_are_refused() -> None:
    rows = np.zeros((2, 8), np.int32)
    keys = np.zeros(2, np.uint64)
    with pytest.raises(UserError, match="row 1 have 9 tokens where a row holds 8"):
        infill(rows, np.array([0, 1, 3]), np.array([8, 4, 5]), keys, config(), BOS, EOS)


def test_sentinels_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match="three different reserved ids"):
        InfillingConfig(prefix_id=5, middle_id=5, suffix_id=6)
    with pytest.raises(ValidationError):
        InfillingConfig(rate=1.5, prefix_id=5, middle_id=6, suffix_id=7)
    with pytest.raises(UserError, match=r"infilling\.suffix_id: 600 is beyond the vocabulary"):
        InfillingConfig(prefix_id=5, middle_id=6, suffix_id=600).check(600)
    InfillingConfig(prefix_id=5, middle_id=6, suffix_id=599).check(600)
