"""MinHash with banding: it proposes pairs of similar documents, and proves nothing.

Broder 1997 (resemblance); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skywright.corpus.dedup.shingles import flatten
from skywright.engine.compiled import compiled

VERSION = "minhash/v1"
NO_SHINGLES = np.uint64(0)
"""Band hash of a document without shingles. It proposes nothing: leave such rows out of pairs."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_33 = np.uint64(33)
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _band_hashes(values, offsets, multipliers, addends, bands, rows, out):  # type: ignore[no-untyped-def]
    """Shingles are uniform 64-bit hashes already, so x -> a x + b modulo 2^64 (a odd, a bijection)
    gives each (a, b) its own order of them."""
    hashes = bands * rows
    minima = np.empty(hashes, np.uint64)
    for d in range(len(offsets) - 1):
        if offsets[d] == offsets[d + 1]:
            continue
        minima[:] = _LARGEST
        for i in range(offsets[d], offsets[d + 1]):
            x = values[i]
            for k in range(hashes):
                minima[k] = min(minima[k], x * multipliers[k] + addends[k])
        for band in range(bands):
            h = np.uint64(band)  # bands differ even where their minima are equal
            for k in range(band * rows, (band + 1) * rows):
                h = (h ^ minima[k]) * _GOLDEN
                h = (h ^ (h >> _33)) * _MIX_1
            h = (h ^ (h >> _33)) * _MIX_2
            h ^= h >> _33
            out[d, band] = max(h, np.uint64(1))


def band_hashes(
    shingles: pa.Array | pa.ChunkedArray, bands: int = 14, rows: int = 8, seed: int = 1
) -> np.ndarray:
    """Band hashes uint64 (documents, bands); documents that share one in a column are a candidate
    pair.

    Each band hashes `rows` minima of the shingle set under independent orders drawn from `seed`.
    Two documents of Jaccard similarity s share a band with `collision_probability(s, bands, rows)`.
    14 x 8 is FineWeb's setting. A document without shingles has `NO_SHINGLES` in every band; no
    other document has. Raises `ValueError` if bands or rows is below 1.
    """
    if bands < 1 or rows < 1:
        raise ValueError(f"bands and rows must be at least 1, got {bands} and {rows}")
    values, offsets = flatten(shingles)
    random = np.random.Generator(np.random.PCG64(seed))
    multipliers = random.integers(0, 2**64, bands * rows, dtype=np.uint64) | np.uint64(1)
    addends = random.integers(0, 2**64, bands * rows, dtype=np.uint64)
    out = np.full((len(offsets) - 1, bands), NO_SHINGLES, np.uint64)
    _band_hashes(values, offsets, multipliers, addends, bands, rows, out)
    return out


def collision_probability(jaccard: float, bands: int = 14, rows: int = 8) -> float:
    """Chance 1 - (1 - s^rows)^bands that two documents of Jaccard similarity s share a band."""
    return float(1.0 - (1.0 - jaccard**rows) ** bands)
