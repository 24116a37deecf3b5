"""A number with its interval, and the checks that its inputs share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with a two-sided interval.

    `n` counts independent units (documents, clusters of documents, or items). With fewer than
    two units nothing can be said about the spread: the standard error is NaN and the interval
    runs from -inf to +inf.
    """

    value: float
    low: float
    high: float
    standard_error: float
    n: int

    def as_json(self) -> dict[str, Any]:
        """`{"value", "low", "high", "n"}`; a bound that is not finite becomes null."""
        return {
            "value": finite_or_none(self.value),
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "n": self.n,
        }


def finite_or_none(number: float) -> float | None:
    """The number as JSON can hold it: infinity and NaN become null."""
    return float(number) if math.isfinite(number) else None


def vector(values: ArrayLike, name: str) -> Floats:
    """`values` as a float64 vector; raises ValueError if it is empty or not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a vector with at least one number, got {array.shape}")
    if not np.isfinite(array).all():
        at = int(np.flatnonzero(~np.isfinite(array))[0])
        raise ValueError(f"{name}[{at}] is {array[at]}; every number must be finite")
    return array


def weights_of(denominators: ArrayLike, like: Floats) -> Floats:
    """Denominators as long as `like`, none negative, with a positive sum; else ValueError."""
    array = vector(denominators, "denominators")
    if array.shape != like.shape:
        raise ValueError(f"{like.size} numerators but {array.size} denominators")
    if (array < 0).any() or not array.sum() > 0:
        raise ValueError("denominators must not be negative and must have a positive sum")
    return array


def check_level(level: float) -> float:
    """Return `level` if it lies strictly between 0 and 1; else ValueError."""
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, got {level}")
    return level
