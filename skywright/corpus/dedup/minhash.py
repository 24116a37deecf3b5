"""MinHash signatures: band hashes that propose pairs, a sketch that estimates; neither proves.

From text to signature in one sweep over the tokens, without sorting shingles: a minimum does not
mind repeats. Broder 1997 (resemblance); Leskovec, Rajaraman, Ullman, Mining of Massive Datasets,
chapter 3 (banding); Li and König 2010, arXiv 0910.3349 (b-bit minwise hashing, here b = 1).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus import kernels
from skywright.corpus.dedup.shingles import VERSION as SHINGLES_VERSION
from skywright.corpus.dedup.shingles import flatten
from skywright.engine.compiled import compiled

VERSION = f"minhash/v2 {SHINGLES_VERSION}"
NO_SHINGLES = np.uint64(0)
"""Band hash of a document without shingles. It proposes nothing: leave such rows out of pairs."""
SKETCH_BITS = 128  # one of each of the first 128 minima

_BASE = np.uint64(0xD6E8FEB86659FD93)  # as in shingles.py
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_GOLDEN_32 = np.uint32(0x9E3779B1)  # 2^32 / golden ratio, odd
_32 = np.uint64(32)
_33 = np.uint64(33)
_LARGEST = np.uint32(0xFFFFFFFF)


class Signatures(NamedTuple):
    """bands uint64 (documents, bands) and sketch uint64 (documents, 2)."""

    bands: np.ndarray
    sketch: np.ndarray

    @classmethod
    def empty(cls, documents: int, bands: int) -> Signatures:
        """Signatures of documents without shingles."""
        return cls(
            np.full((documents, bands), NO_SHINGLES, np.uint64),
            np.zeros((documents, SKETCH_BITS // 64), np.uint64),
        )


@compiled
def _windows(hashes, begin, end, width, factor, out):  # type: ignore[no-untyped-def]
    """Upper halves of the shingle hashes of tokens begin..end, in order, repeats and all."""
    total = 0
    window = np.uint64(0)  # sum of hash(t - k) * B^k over the last `width` tokens
    for t in range(begin, end):
        window = window * _BASE + hashes[t]
        if t - begin >= width:
            window -= hashes[t - width] * factor
        if t - begin >= width - 1 or t == end - 1:
            h = (window ^ (window >> _33)) * _MIX_1
            h = (h ^ (h >> _33)) * _MIX_2
            out[total] = np.uint32((h ^ (h >> _33)) >> _32)
            total += 1
    return total


@compiled
def _minima(values, multipliers, addends, minima):  # type: ignore[no-untyped-def]
    """Shingles are uniform 32-bit hashes already, so x -> a x + b modulo 2^32 (a odd, a bijection)
    gives each (a, b) its own order of them."""
    for x in values:
        for k in range(len(minima)):
            minima[k] = min(minima[k], np.uint32(x * multipliers[k] + addends[k]))


@compiled
def _write(minima, bands, rows, out, sketch):  # type: ignore[no-untyped-def]
    """Band hashes and sketch of one document from its minima."""
    for band in range(bands):
        h = np.uint64(band)  # bands differ even where their minima are equal
        for k in range(band * rows, (band + 1) * rows):
            h = (h ^ np.uint64(minima[k])) * _GOLDEN
            h = (h ^ (h >> _33)) * _MIX_1
        h = (h ^ (h >> _33)) * _MIX_2
        h ^= h >> _33
        out[band] = max(h, np.uint64(1))
    for k in range(min(len(minima), SKETCH_BITS)):
        bit = np.uint64(np.uint32(minima[k] * _GOLDEN_32) >> np.uint32(31))
        sketch[k >> 6] |= bit << np.uint64(k & 63)


@compiled
def _sign_tokens(hashes, token_offsets, width, multipliers, addends, bands, rows, out, sketch):  # type: ignore[no-untyped-def]
    factor = np.uint64(1)
    for _ in range(width):
        factor *= _BASE
    values = np.empty(len(hashes), np.uint32)
    minima = np.empty(bands * rows, np.uint32)
    for d in range(len(token_offsets) - 1):
        n = _windows(hashes, token_offsets[d], token_offsets[d + 1], width, factor, values)
        if n:
            minima[:] = _LARGEST
            _minima(values[:n], multipliers, addends, minima)
            _write(minima, bands, rows, out[d], sketch[d])


@compiled
def _sign_sets(values, offsets, multipliers, addends, bands, rows, out, sketch):  # type: ignore[no-untyped-def]
    minima = np.empty(bands * rows, np.uint32)
    for d in range(len(offsets) - 1):
        if offsets[d + 1] > offsets[d]:
            minima[:] = _LARGEST
            _minima(values[offsets[d] : offsets[d + 1]], multipliers, addends, minima)
            _write(minima, bands, rows, out[d], sketch[d])


def _orders(bands: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers (odd) and addends, uint32 (bands * rows), of the orders that `seed` draws."""
    if bands < 1 or rows < 1:
        raise ValueError(f"bands and rows must be at least 1, got {bands} and {rows}")
    random = np.random.Generator(np.random.PCG64(seed))
    multipliers = random.integers(0, 2**32, bands * rows, dtype=np.uint32) | np.uint32(1)
    return multipliers, random.integers(0, 2**32, bands * rows, dtype=np.uint32)


def signatures(
    texts: pa.Array | pa.ChunkedArray, width: int = 5, bands: int = 14, rows: int = 8, seed: int = 1
) -> Signatures:
    """Signatures of a column of text; 14 bands of 8 rows are FineWeb's setting.

    Each band hashes `rows` minima of the set of shingles of `width` tokens, under independent
    orders drawn from `seed`: two documents of Jaccard similarity s share a band with
    `collision_probability(s, bands, rows)`. A document without shingles has `NO_SHINGLES` in every
    band; no other document has. Raises `UserError` for nulls, `ValueError` for settings below 1.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, got {width}")
    multipliers, addends = _orders(bands, rows, seed)
    found = Signatures.empty(len(texts), bands)
    begin = 0
    for hashes, offsets in kernels.token_hashes(texts):
        end = begin + len(offsets) - 1
        _sign_tokens(
            hashes, offsets, width, multipliers, addends, bands, rows,
            found.bands[begin:end], found.sketch[begin:end],
        )  # fmt: skip
        begin = end
    return found


def band_hashes(
    shingles: pa.Array | pa.ChunkedArray, bands: int = 14, rows: int = 8, seed: int = 1
) -> np.ndarray:
    """The band hashes of `signatures`, from lists of 64-bit shingles instead of text."""
    multipliers, addends = _orders(bands, rows, seed)
    values, offsets = flatten(shingles)
    found = Signatures.empty(len(offsets) - 1, bands)
    halves = (values >> _32).astype(np.uint32)
    _sign_sets(halves, offsets, multipliers, addends, bands, rows, found.bands, found.sketch)
    return found.bands


def collision_probability(jaccard: float, bands: int = 14, rows: int = 8) -> float:
    """Chance 1 - (1 - s^rows)^bands that two documents of Jaccard similarity s share a band."""
    return float(1.0 - (1.0 - jaccard**rows) ** bands)
