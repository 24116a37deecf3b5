"""The rule by which near copies go, on documents in memory.

Documents are taken best first. Each looks, in every bucket that it stands in (a bucket: documents
that share a band hash), at the kept documents before it, the first and the last `neighbours` of
them. The two whose sketches differ least from its own, by at most `mismatch_limit` bits, are
compared with it exactly. It goes in favour of the more similar one if that reaches the threshold;
otherwise it is kept and joins its buckets. It follows that

* a document goes only in favour of one that stays and that it is truly similar to: no chains;
* a document is compared at most twice, whatever the size of a bucket;
* the order of the input does not matter, only that of the ranks;
* asked again about the documents that stay, the rule removes nothing, because what went had never
  joined a bucket;
* documents that come later, all of lower rank, change nothing about those that were there before.

`stages.py` carries out the same rule over shards.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skywright.corpus.dedup.minhash import SKETCH_BITS, Signatures
from skywright.corpus.dedup.shingles import flatten
from skywright.engine.compiled import compiled

REMOVALS = pa.schema(
    [
        pa.field("dropped", pa.int64(), False),
        pa.field("kept", pa.int64(), False),
        pa.field("similarity", pa.float64(), False),
        pa.field("cluster_size", pa.int64(), False),
    ]
)
"""Rows of `removals`. cluster_size: the kept document and all that go in favour of it."""


@compiled
def _jaccard(a, b):  # type: ignore[no-untyped-def]
    shared = 0
    i = 0
    j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            shared += 1
            i += 1
            j += 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    union = len(a) + len(b) - shared
    return shared / union if union else 0.0


@compiled
def _bits(x):  # type: ignore[no-untyped-def]
    """Ones in a 64-bit word (Warren, Hacker's Delight, 5-1); compiles to one instruction."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@compiled
def _look(document, standing, sketch, neighbours, limit, found, apart):  # type: ignore[no-untyped-def]
    """Put the nearest of `standing` (documents, best first) into found and apart (2 each).

    Only the first and the last `neighbours` are looked at; of equally near ones the better stays.
    """
    j = 0
    while j < len(standing):
        if j == neighbours and len(standing) > 2 * neighbours:
            j = len(standing) - neighbours
        other = standing[j]
        j += 1
        d = _bits(sketch[document, 0] ^ sketch[other, 0])
        d += _bits(sketch[document, 1] ^ sketch[other, 1])
        if d > limit or other == found[0] or other == found[1]:
            continue
        if found[0] < 0 or d < apart[0] or (d == apart[0] and other < found[0]):
            found[1] = found[0]
            apart[1] = apart[0]
            found[0] = other
            apart[0] = d
        elif found[1] < 0 or d < apart[1] or (d == apart[1] and other < found[1]):
            found[1] = other
            apart[1] = d


@compiled
def _nearest(starts, alive, asked, sketch, neighbours, limit, found, apart):  # type: ignore[no-untyped-def]
    """For every row asked the two nearest living rows before it in its bucket, by `starts`."""
    longest = 0
    for b in range(len(starts) - 1):
        longest = max(longest, starts[b + 1] - starts[b])
    standing = np.empty(longest, np.int64)
    for b in range(len(starts) - 1):
        count = 0
        for row in range(starts[b], starts[b + 1]):
            if asked[row]:
                _look(row, standing[:count], sketch, neighbours, limit, found[row], apart[row])
            if alive[row]:
                standing[count] = row
                count += 1


@compiled
def _decide(slots, starts, sketch, values, offsets, neighbours, limit, threshold, kept, similar):  # type: ignore[no-untyped-def]
    """Rows are documents, the best first; slots[row, band] is the bucket, -1 if it stands alone."""
    standing = np.empty(starts[-1], np.int64)
    counts = np.zeros(len(starts) - 1, np.int64)
    found = np.empty(2, np.int64)
    apart = np.empty(2, np.int64)
    for row in range(len(slots)):
        found[:] = -1
        for slot in slots[row]:
            if slot >= 0:
                there = standing[starts[slot] : starts[slot] + counts[slot]]
                _look(row, there, sketch, neighbours, limit, found, apart)
        a = values[offsets[row] : offsets[row + 1]]
        for other in found:
            if other < 0:
                continue
            s = _jaccard(a, values[offsets[other] : offsets[other + 1]])
            best = kept[row]
            if s >= threshold and (
                best < 0 or s > similar[row] or (s == similar[row] and other < best)
            ):
                kept[row] = other
                similar[row] = s
        if kept[row] < 0:
            for slot in slots[row]:
                if slot >= 0:
                    standing[starts[slot] + counts[slot]] = row
                    counts[slot] += 1


@compiled
def _similarities(values, offsets, first, second, out):  # type: ignore[no-untyped-def]
    for i in range(len(first)):
        out[i] = _jaccard(
            values[offsets[first[i]] : offsets[first[i] + 1]],
            values[offsets[second[i]] : offsets[second[i] + 1]],
        )


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """|A and B| / |A or B| of two sorted arrays without repeats; 0 if both are empty."""
    return float(_jaccard(np.asarray(a, np.uint64), np.asarray(b, np.uint64)))


def similarities(
    values: np.ndarray, offsets: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """Jaccard similarity, float64, of set first[i] and set second[i] of sorted sets in a row."""
    out = np.zeros(len(first), np.float64)
    _similarities(values, offsets, first, second, out)
    return out


def nearest(
    starts: np.ndarray,
    alive: np.ndarray,
    asked: np.ndarray,
    sketch: np.ndarray,
    neighbours: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The two nearest living rows before each row asked, in its bucket, and how many bits differ.

    Rows stand bucket by bucket (starts int64, with the end), the best first; sketch uint64 (rows,
    2). Returns int64 (rows, 2) twice; -1 where there is none.
    """
    found = np.full((len(sketch), 2), -1, np.int64)
    apart = np.full((len(sketch), 2), -1, np.int64)
    _nearest(starts, alive, asked, sketch, neighbours, limit, found, apart)
    return found, apart


def mismatch_limit(jaccard: float, bits: int, sigmas: float = 4.0) -> int:
    """Bits by which the sketches of two documents of that similarity may differ, at the most.

    A bit differs with probability (1 - s) / 2, so their number is binomial; the mean and four
    standard deviations cover all but about 3 in 100,000 of the pairs at the threshold itself.
    """
    p = (1 - jaccard) / 2
    return int(bits * p + sigmas * (bits * p * (1 - p)) ** 0.5)


def removals(
    signatures: Signatures,
    sets: pa.Array | pa.ChunkedArray,
    quality_order: np.ndarray,
    rows: int = 8,
    threshold: float = 0.8,
    neighbours: int = 64,
) -> pa.Table:
    """Which of n documents go, each in favour of which; a table of `REMOVALS` sorted by `dropped`.

    signatures of bands of `rows` minima; sets: their sorted shingles (uint64 or uint32);
    quality_order int64 (n): a distinct rank for each document, lower is better. Threshold 0.8 is
    OLMo 3's. Raises `ValueError` for equal ranks.
    """
    values, offsets = flatten(sets)
    n = len(offsets) - 1
    order = np.argsort(quality_order, kind="stable")
    if len(order) != n or np.any(np.diff(np.asarray(quality_order)[order]) == 0):
        raise ValueError(f"quality_order must hold {n} distinct ranks, one a document")
    bands = signatures.bands[order]
    keys, slots, counts = np.unique(bands.ravel(), return_inverse=True, return_counts=True)
    alone = (counts == 1) | (keys == 0)
    counts[alone] = 0
    slots = np.where(alone[slots], -1, slots).reshape(bands.shape)
    lengths = np.diff(offsets)[order]
    moved = np.concatenate([[0], np.cumsum(lengths)])
    inside = np.arange(len(values)) - np.repeat(moved[:-1] - offsets[order], lengths)
    kept = np.full(n, -1, np.int64)
    similar = np.zeros(n, np.float64)
    limit = mismatch_limit(threshold, min(bands.shape[1] * rows, SKETCH_BITS))
    _decide(
        slots, np.concatenate([[0], np.cumsum(counts)]), signatures.sketch[order], values[inside],
        moved, neighbours, limit, threshold, kept, similar,
    )  # fmt: skip
    gone = np.flatnonzero(kept >= 0)
    copies = np.bincount(kept[gone], minlength=n)[kept[gone]] + 1
    columns = [order[gone], order[kept[gone]], similar[gone], copies]
    table = pa.Table.from_arrays([pa.array(c) for c in columns], schema=REMOVALS)
    return table.sort_by("dropped")
