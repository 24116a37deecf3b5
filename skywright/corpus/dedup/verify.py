"""Near copies: MinHash proposes, the true Jaccard similarity decides, and only with a kept copy.

Removing everything that hangs together through proposed pairs goes wrong: chains join documents
that have little in common. Here a document goes only if it is itself similar to one that stays.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skywright.corpus.dedup.shingles import flatten
from skywright.engine.compiled import compiled

REMOVALS = pa.schema(
    [
        pa.field("dropped", pa.int64(), False),
        pa.field("kept", pa.int64(), False),
        pa.field("similarity", pa.float64(), False),
        pa.field("cluster", pa.int64(), False),
        pa.field("size", pa.int64(), False),
    ]
)
"""Rows of `verified_removals`. cluster: the kept document, whose copies these are; size: documents
of the cluster, the kept one included."""


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
def _decide(values, offsets, order, rank, starts, neighbours, threshold, kept, similarity):  # type: ignore[no-untyped-def]
    """Fill kept (-1: stays) and similarity, documents in `order`, the best first."""
    for document in order:
        a = values[offsets[document] : offsets[document + 1]]
        for k in range(starts[document], starts[document + 1]):
            other = neighbours[k]
            if rank[other] > rank[document] or kept[other] >= 0:
                continue
            b = values[offsets[other] : offsets[other + 1]]
            if min(len(a), len(b)) < threshold * max(len(a), len(b)) - 0.5:
                continue  # |A and B| / |A or B| is at most min / max; .5 covers rounding
            s = _jaccard(a, b)
            best = kept[document]
            if s >= threshold and (
                best < 0
                or s > similarity[document]
                or (s == similarity[document] and rank[other] < rank[best])
            ):
                kept[document] = other
                similarity[document] = s


def jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """|A and B| / |A or B| of two sorted uint64 arrays without repeats; 0 if both are empty."""
    return float(_jaccard(np.asarray(a, np.uint64), np.asarray(b, np.uint64)))


def verified_removals(
    pairs: np.ndarray,
    shingles: pa.Array | pa.ChunkedArray,
    quality_order: np.ndarray,
    threshold: float = 0.8,
) -> pa.Table:
    """Which documents go, each in favour of a kept document that it is truly similar to.

    pairs int64 (m, 2): candidate rows of `shingles`, in any order, repeats allowed; quality_order
    int64 (n): a distinct rank for each row, lower is better. Rows are taken best first: a row stays
    unless a proposed partner that stays has true Jaccard similarity >= `threshold` with it; of
    several it goes in favour of the most similar, then of the best. Threshold 0.8 is OLMo 3's.

    Returns a table of `REMOVALS` sorted by `dropped`. The result depends on the set of pairs and on
    the ranks alone. Raises `ValueError` for equal ranks or rows that do not exist.
    """
    values, offsets = flatten(shingles)
    n = len(offsets) - 1
    rank = np.ascontiguousarray(quality_order, dtype=np.int64)
    order = np.argsort(rank, kind="stable")
    if len(rank) != n or np.any(np.diff(rank[order]) == 0):
        raise ValueError(f"quality_order must hold {n} distinct ranks, one a document")
    pairs = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if pairs.size and (pairs.min() < 0 or pairs.max() >= n):
        raise ValueError(f"pairs must name rows 0..{n - 1}")
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    starts = np.searchsorted(pairs[:, 0], np.arange(n + 1))
    kept = np.full(n, -1, np.int64)
    similarity = np.zeros(n, np.float64)
    _decide(
        values, offsets, order, rank, starts, np.ascontiguousarray(pairs[:, 1]), threshold, kept,
        similarity,
    )  # fmt: skip
    dropped = np.flatnonzero(kept >= 0)
    copies = np.bincount(kept[dropped], minlength=n)
    columns = [
        dropped, kept[dropped], similarity[dropped], kept[dropped], copies[kept[dropped]] + 1
    ]  # fmt: skip
    return pa.Table.from_arrays([pa.array(c) for c in columns], schema=REMOVALS)
