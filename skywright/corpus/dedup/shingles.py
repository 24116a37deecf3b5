"""Shingles: a document as the set of its token n-grams, each a 64-bit hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from skywright.corpus import kernels
from skywright.engine.compiled import compiled
from skywright.errors import UserError

VERSION = f"shingles/v1 {kernels.TOKENS_VERSION}"

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd; any constant of well-mixed bits does
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_32 = np.uint64(32)
_33 = np.uint64(33)


@compiled
def _power(width):  # type: ignore[no-untyped-def]
    """B^width: the weight of the token that leaves a window."""
    factor = np.uint64(1)
    for _ in range(width):
        factor *= _BASE
    return factor


@compiled
def _finished(window):  # type: ignore[no-untyped-def]
    """A window's sum, its bits mixed."""
    h = (window ^ (window >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@compiled
def _shingle_chunk(hashes, token_offsets, width):  # type: ignore[no-untyped-def]
    documents = len(token_offsets) - 1
    out = np.empty(len(hashes), np.uint64)  # a document has at most as many shingles as tokens
    offsets = np.zeros(documents + 1, np.int64)
    factor = _power(width)
    total = 0
    for d in range(documents):
        begin = total
        tokens = token_offsets[d + 1] - token_offsets[d]
        window = np.uint64(0)  # sum of hash(t - k) * B^k over the last `width` tokens
        for t in range(token_offsets[d], token_offsets[d + 1]):
            window = window * _BASE + hashes[t]
            if t - token_offsets[d] >= width:
                window -= hashes[t - width] * factor
            if t - token_offsets[d] >= width - 1 or t == token_offsets[d] + tokens - 1:
                out[total] = _finished(window)
                total += 1
        found = out[begin:total]
        found.sort()
        total = begin
        for i in range(len(found)):
            if i == 0 or found[i] != out[total - 1]:
                out[total] = found[i]
                total += 1
        offsets[d + 1] = total
    return out[:total], offsets


@compiled
def _sort_uniform(values, out, counts):  # type: ignore[no-untyped-def]
    """Sort uint32 `values` into `out`: hashes are uniform, so their first bits all but place them.

    Five times as fast as a comparison sort (measured at 600 values: 6 ns a value).
    """
    bits = 1
    while (1 << bits) < len(values):
        bits += 1
    shift = np.uint32(32 - bits)
    counts[: (1 << bits) + 1] = 0
    for x in values:
        counts[np.int64(x >> shift) + 1] += 1
    for i in range(1 << bits):
        counts[i + 1] += counts[i]
    for x in values:
        place = np.int64(x >> shift)
        out[counts[place]] = x
        counts[place] += 1
    for i in range(1, len(values)):
        x = out[i]
        j = i
        while j > 0 and out[j - 1] > x:
            out[j] = out[j - 1]
            j -= 1
        out[j] = x


@compiled
def _half_chunk(hashes, token_offsets, width):  # type: ignore[no-untyped-def]
    """Of each document the upper halves of `_shingle_chunk`'s hashes, sorted, each once."""
    documents = len(token_offsets) - 1
    longest = 1
    for d in range(documents):
        longest = max(longest, token_offsets[d + 1] - token_offsets[d])
    windows = np.empty(longest, np.uint32)
    counts = np.empty(4 * longest + 2, np.int32)
    out = np.empty(len(hashes), np.uint32)
    offsets = np.zeros(documents + 1, np.int64)
    factor = _power(width)
    total = 0
    for d in range(documents):
        first = token_offsets[d]
        end = token_offsets[d + 1]
        n = 0
        window = np.uint64(0)
        for t in range(first, end):
            window = window * _BASE + hashes[t]
            if t - first >= width:
                window -= hashes[t - width] * factor
            if t - first >= width - 1 or t == end - 1:
                windows[n] = np.uint32(_finished(window) >> _32)
                n += 1
        found = out[total : total + n]
        _sort_uniform(windows[:n], found, counts)
        for i in range(n):
            if i == 0 or found[i] != out[total - 1]:
                out[total] = found[i]
                total += 1
        offsets[d + 1] = total
    return out[:total], offsets


def shingles(texts: pa.Array | pa.ChunkedArray, width: int = 5) -> pa.LargeListArray:
    """Sorted distinct 64-bit hashes of each text's n-grams of `width` mixed tokens.

    Width 5 is that of MassiveText, RefinedWeb and FineWeb. A text of 1..width-1 tokens gives one
    hash, of all its tokens; one without tokens gives an empty list. Two different n-grams share a
    hash with a chance of about 2^-64. Raises `UserError` for nulls or a column that is no text,
    `ValueError` for a width below 1.
    """
    return _lists(texts, width, _shingle_chunk, np.uint64)


def half_shingles(texts: pa.Array | pa.ChunkedArray, width: int = 5) -> pa.LargeListArray:
    """Sorted upper halves (uint32) of the shingles, each once: what moves between machines.

    Two sets of n n-grams share a half by chance about n^2 / 2^32 times, so a similarity is off by
    about n / 2^32: 2e-5 for a document of 100,000 tokens. Raises as `shingles` does.
    """
    return _lists(texts, width, _half_chunk, np.uint32)


def _lists(
    texts: pa.Array | pa.ChunkedArray, width: int, chunk: Any, kind: type
) -> pa.LargeListArray:
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    values: list[np.ndarray] = [np.zeros(0, kind)]
    lengths = [np.zeros(1, np.int64)]
    for hashes, token_offsets in kernels.token_hashes(texts):
        found, offsets = chunk(hashes, token_offsets, width)
        values.append(found)
        lengths.append(np.diff(offsets))
    offsets = np.cumsum(np.concatenate(lengths))
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate(values)))


def flatten(lists: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """A list column of uint64 or uint32 as (values, offsets int64 of n + 1), without nulls."""
    if isinstance(lists, pa.ChunkedArray):
        lists = lists.combine_chunks() if lists.num_chunks != 1 else lists.chunk(0)
    is_list = pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)
    if not is_list or lists.type.value_type not in (pa.uint64(), pa.uint32()) or lists.null_count:
        raise UserError(f"shingles: expected lists of uint64 without nulls, got {lists.type}")
    offsets = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    values = lists.values.to_numpy(zero_copy_only=False)
    return values[offsets[0] : offsets[-1]], offsets - offsets[0]
