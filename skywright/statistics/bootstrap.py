"""Resampling counts of a bootstrap, a matrix of draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywright.statistics.estimate import Floats

WEIGHTS_AT_ONCE = 4_000_000  # float64 weights held at a time: 32 MB, whatever n and draws are


def resampling_weights(rng: np.random.Generator, draws: int, n: int) -> Floats:
    """How often each of n units is drawn in n draws with replacement: shape (draws, n)."""
    drawn: NDArray[np.int64] = rng.integers(0, n, size=(draws, n))
    drawn += n * np.arange(draws, dtype=np.int64)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=draws * n)
    return counts.reshape(draws, n).astype(np.float64)
