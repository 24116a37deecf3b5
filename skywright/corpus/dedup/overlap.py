"""Overlap with held-out documents: exhaustive containment, not an estimate.

Every shingle of every evaluation document is looked up, so nothing is missed that shares even one
shingle; the memory needed is 12 bytes a shingle of the evaluation documents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from skywright.corpus.dedup.shingles import flatten
from skywright.engine.compiled import compiled


@compiled
def directory(hashes, bits):  # type: ignore[no-untyped-def]
    """starts[p] = first position of a hash whose top `bits` bits are >= p, for p in 0..2^bits."""
    starts = np.zeros((1 << bits) + 1, np.int64)
    shift = np.uint64(64 - bits)
    for h in hashes:
        starts[np.int64(h >> shift) + 1] += 1
    for p in range(1 << bits):
        starts[p + 1] += starts[p]
    return starts


@compiled
def _containment(values, offsets, hashes, owners, starts, bits, sizes, best, contained):  # type: ignore[no-untyped-def]
    shift = np.uint64(64 - bits)
    shared = np.zeros(len(sizes), np.int64)
    touched = np.empty(len(sizes), np.int64)
    for d in range(len(offsets) - 1):
        found = 0
        for i in range(offsets[d], offsets[d + 1]):
            h = values[i]
            prefix = np.int64(h >> shift)
            for k in range(starts[prefix], starts[prefix + 1]):
                if hashes[k] == h:
                    owner = owners[k]
                    if shared[owner] == 0:
                        touched[found] = owner
                        found += 1
                    shared[owner] += 1
        for k in range(found):
            owner = touched[k]
            ratio = shared[owner] / min(offsets[d + 1] - offsets[d], sizes[owner])
            if ratio > contained[d] or (ratio == contained[d] and owner < best[d]):
                best[d] = owner
                contained[d] = ratio
            shared[owner] = 0


@dataclass(frozen=True)
class Index:
    """The shingles of evaluation documents, ready to be looked up.

    hashes uint64 and owners int32: each (shingle, evaluation document), sorted; sizes int64:
    shingles of each evaluation document; starts and bits: a directory over the top bits.
    """

    hashes: np.ndarray
    owners: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    bits: int

    @classmethod
    def build(cls, shingles: pa.Array | pa.ChunkedArray) -> Index:
        """Index the shingle lists of the evaluation documents, which go by their row numbers."""
        values, offsets = flatten(shingles)
        sizes = np.diff(offsets)
        owners = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        order = np.argsort(values, kind="stable")  # ties stay in order of the documents
        hashes = values[order]
        bits = max(1, len(hashes).bit_length())
        return cls(hashes, owners[order], sizes, directory(hashes, bits), bits)

    def containment(self, shingles: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
        """For each document the evaluation document that it overlaps most, and how much.

        Returns (best int64, containment float64): containment = |A and B| / min(|A|, |B|) over
        shingle sets, the largest over all evaluation documents B, of equals the first; -1 and 0.0
        where no shingle is shared. No document is too short to count: with few shingles on either
        side one common phrase is a large share, so a caller who wants a floor compares `sizes` and
        the lengths of its own lists.
        """
        values, offsets = flatten(shingles)
        n = len(offsets) - 1
        best = np.full(n, -1, np.int64)
        contained = np.zeros(n, np.float64)
        _containment(
            values, offsets, self.hashes, self.owners, self.starts, self.bits, self.sizes, best,
            contained,
        )  # fmt: skip
        return best, contained
