"""Several tests at once: Holm's adjustment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from skywright.statistics.estimate import vector


def holm(p_values: ArrayLike | Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given.

    Calling those at or below alpha keeps the chance of any false call at alpha, whatever the
    tests' dependence (Holm 1979, Scandinavian Journal of Statistics 6, 65-70): the k-th
    smallest of m is multiplied by m - k + 1, never falls below the one before, and ends at 1.
    """
    p = vector(p_values, "p_values")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("p-values must lie between 0 and 1")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(p.size, 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]
