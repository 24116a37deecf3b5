"""The baseline that every loss is held against: how often each token occurs, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skywright.tokens import Shards

_TOKENS_AT_ONCE = 16_000_000  # counted at a time, so that memory does not grow with the shards


def count_tokens(shards: Shards) -> np.ndarray:
    """How often each id occurs in all sources, int64 (vocab_size,).

    BOS and EOS are never scored and count 0.
    """
    counts = np.zeros(shards.manifest.vocab_size, dtype=np.int64)
    for source in sorted(shards.manifest.sources):
        for tokens in shards.parts(source):
            for start in range(0, len(tokens), _TOKENS_AT_ONCE):
                part = tokens[start : start + _TOKENS_AT_ONCE]
                counts += np.bincount(part, minlength=len(counts))
    marks = (shards.manifest.bos_id, shards.manifest.eos_id)
    counts[[mark for mark in marks if mark is not None]] = 0
    return counts


def unigram_nats(counts: np.ndarray, documents: Sequence[np.ndarray]) -> float:
    """Loss in nats per token of a model that knows only how often each token occurs.

    counts (vocabulary,): token counts of training data; every count gets one added, so that no
    token has probability 0. documents: token ids. Raises ValueError if there is no token.
    """
    ids = np.concatenate(documents) if documents else np.empty(0, dtype=np.int64)
    if len(ids) == 0:
        raise ValueError("no tokens to measure")
    smoothed = np.asarray(counts, dtype=np.float64) + 1.0
    return float(-np.log(smoothed[ids] / smoothed.sum()).mean())
