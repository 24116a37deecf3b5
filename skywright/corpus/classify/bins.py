"""Bins of equal size: which scores of a corpus are the best tenth, the next one, and so on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bins(scores: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """Bin of each score, 0..len(edges): how many edges it reaches."""
    return np.searchsorted(np.asarray(edges, float), scores, side="right").astype(np.int64)


def equal_mass_edges(scores: np.ndarray, count: int) -> list[float]:
    """Edges that cut the scores into `count` bins of about equal size."""
    return [float(e) for e in np.quantile(scores, np.arange(1, count) / count)]
