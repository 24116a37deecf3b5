"""Fractional shares to whole samples, block by block, never more than one sample off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_UNIT_BITS = 30
_UNIT = 1 << _UNIT_BITS  # targets are counted in 2^-30 samples, so that all sums are exact
MAX_SAMPLES = (1 << (62 - _UNIT_BITS)) - 1  # so many samples fit 63 bits in these units


def whole_targets(targets: Floats, ends: Integers) -> Integers:
    """Cumulative targets in units of 2^-30 sample: rising, and each row summing to its end.

    `targets`: samples that each source should have had by the end of each block, shape
    (blocks, sources); `ends`: samples of all sources by then, shape (blocks,).
    """
    sizes = np.diff(ends, prepend=0)
    steps = np.rint(np.diff(targets, axis=0, prepend=0) * _UNIT).astype(np.int64)
    np.maximum(steps, 0, out=steps)
    # What rounding leaves over goes to the block's largest source, for which it is nothing.
    largest = steps.argmax(axis=1)
    steps[np.arange(len(steps)), largest] += sizes * _UNIT - steps.sum(axis=1)
    return np.cumsum(steps, axis=0)


def apportion(targets: Floats, ends: Integers) -> Integers:
    """Cumulative whole samples of each source at each block's end, shape (blocks, sources).

    Rows sum to `ends`, columns never fall, and every entry is less than one sample from its
    target. Source s is owed its j-th sample from the block in which its target passes j-1 (the
    release) to the block in which it reaches j (the deadline); a block first hands out what is
    due in it and then, while there is room, what is released, earliest deadline first. The
    targets themselves are a fractional schedule that meets every deadline, so a whole one
    exists, and for unit jobs earliest deadline first finds it (exchange argument). Giving the
    rest to the largest deficit is simpler, but can end up owing more than a block holds when
    many small sources have been served early.
    """
    exact = whole_targets(targets, ends)
    blocks, sources = exact.shape
    floors = exact >> _UNIT_BITS
    fractions = exact & (_UNIT - 1)
    due = np.empty((blocks, sources), dtype=np.int32)
    for source in range(sources):
        following = (floors[:, source] + 1) << _UNIT_BITS
        due[:, source] = np.searchsorted(exact[:, source], following)
    sizes = np.diff(ends, prepend=0)
    result = np.empty_like(floors)
    given = np.zeros(sources, dtype=np.int64)
    for block in range(blocks):
        floor = floors[block]
        given_before = int(given.sum())
        released = (fractions[block] > 0) & (given <= floor)
        np.maximum(given, floor, out=given)
        room = int(sizes[block]) - (int(given.sum()) - given_before)
        if room:
            # Among sources of one deadline the larger fraction comes first, then the name.
            order = np.lexsort((-fractions[block], due[block], ~released))
            given[order[:room]] += 1
        result[block] = given
    return result
