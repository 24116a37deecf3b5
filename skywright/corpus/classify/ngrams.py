"""An n-gram language model of mixed tokens: how surprising a text is, as an optional signal.

CCNet (Wenzek et al. 2019, arXiv 1911.00359) bins pages by the perplexity of a 5-gram model of
Wikipedia. Here it is a 3-gram model with hashed counts and fixed interpolation: no dictionary, no
other program, the same numbers on every machine.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skywright.corpus import kernels
from skywright.engine.compiled import compiled
from skywright.engine.files import atomic_open
from skywright.errors import UserError

VERSION = "ngrams/v1"
LAMBDAS = (0.5, 0.3, 0.15, 0.05)
"""Weights of the 3-, 2-, 1-gram and uniform estimates (Jelinek and Mercer 1980). Fixed, not fitted:
the signal is for ranking pages, and no figure of it is compared with other models."""
VOCABULARY = 1 << 20  # of the uniform part: unseen tokens cost ln(2^20 / .05), 16.9 nats

_BASE = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_32 = np.uint64(32)


@compiled
def _bucket(h, mask):  # type: ignore[no-untyped-def]
    h *= _MIX
    return np.int64((h ^ (h >> _32)) & mask)


@compiled
def _count(hashes, offsets, counts):  # type: ignore[no-untyped-def]
    mask = np.uint64(counts.shape[1] - 1)
    for d in range(len(offsets) - 1):
        for t in range(offsets[d], offsets[d + 1]):
            gram = hashes[t]
            counts[0, _bucket(gram, mask)] += 1
            for order in range(1, 3):
                if t - order < offsets[d]:
                    break
                gram = gram * _BASE + hashes[t - order]
                counts[order, _bucket(gram, mask)] += 1


@compiled
def _nats(hashes, offsets, counts, total, lambdas, vocabulary):  # type: ignore[no-untyped-def]
    mask = np.uint64(counts.shape[1] - 1)
    out = np.zeros(len(offsets) - 1)
    for d in range(len(offsets) - 1):
        first, last = offsets[d], offsets[d + 1]
        for t in range(first, last):
            p = lambdas[3] / vocabulary
            one = counts[0, _bucket(hashes[t], mask)]
            p += lambdas[2] * one / total
            if t > first:
                pair = hashes[t] * _BASE + hashes[t - 1]
                before = counts[0, _bucket(hashes[t - 1], mask)]
                if before > 0:
                    p += lambdas[1] * min(1.0, counts[1, _bucket(pair, mask)] / before)
                if t > first + 1:
                    triple = pair * _BASE + hashes[t - 2]
                    context = counts[1, _bucket(hashes[t - 1] * _BASE + hashes[t - 2], mask)]
                    if context > 0:
                        p += lambdas[0] * min(1.0, counts[2, _bucket(triple, mask)] / context)
            out[d] -= np.log(p)
        if last > first:
            out[d] /= last - first
    return out


@dataclass(frozen=True)
class NgramModel:
    """counts uint32 (3, buckets): hashed 1-, 2- and 3-grams; total: tokens counted."""

    counts: np.ndarray
    total: int

    @classmethod
    def train(cls, texts: pa.Array | pa.ChunkedArray, bucket_bits: int = 20) -> NgramModel:
        """Count a text column. Raises UserError when it has no token."""
        counts = np.zeros((3, 1 << bucket_bits), np.uint32)
        total = 0
        for view in kernels.views(texts):
            tokens = kernels.tokens(view)
            _count(tokens.hashes, tokens.offsets, counts)
            total += len(tokens.hashes)
        if total == 0:
            raise UserError("no text to count n-grams of; give JSON lines with `text`")
        return cls(counts, total)

    def nats(self, texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Cross-entropy of each text in nats a mixed token, float64; 0 for a text without tokens.

        Hashes may collide: in an n-gram's count that makes a text look less surprising, in its
        context's count more.
        """
        parts = [np.zeros(0)]
        for view in kernels.views(texts):
            tokens = kernels.tokens(view)
            parts.append(
                _nats(
                    tokens.hashes, tokens.offsets, self.counts, float(self.total),
                    np.array(LAMBDAS), float(VOCABULARY),
                )
            )  # fmt: skip
        return np.concatenate(parts)

    def save(self, path: Path) -> str:
        """Write the model; returns its SHA-256."""
        data = save({"counts": self.counts}, {"skywright": json.dumps([VERSION, self.total])})
        with atomic_open(path) as stream:
            stream.write(data)
        return hashlib.sha256(data).hexdigest()


@lru_cache(maxsize=4)
def parse(data: bytes) -> NgramModel:
    """A model from the bytes of its file. Raises UserError for bytes that are none."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        version, total = json.loads(header["__metadata__"]["skywright"])
        counts = load(data)["counts"]
    except (SafetensorError, KeyError, ValueError):
        raise UserError("is no n-gram model of skywright's; train one") from None
    if version != VERSION:
        raise UserError(f"made for {version}; this version reads {VERSION}: train it again")
    return NgramModel(counts, total)
