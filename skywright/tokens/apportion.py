"""Fractional shares to whole samples, block by block, never more than one sample off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywright.engine.compiled import compiled

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


@compiled
def _hand_out(exact, due, ends, result):  # type: ignore[no-untyped-def]
    blocks, sources = exact.shape
    given = np.zeros(sources, np.int64)
    waiting = np.empty(sources, np.int64)
    before = np.int64(0)
    for block in range(blocks):
        room = ends[block] - before
        before = ends[block]
        found = 0
        for source in range(sources):
            floor = exact[block, source] >> _UNIT_BITS
            fraction = exact[block, source] & (_UNIT - 1)
            released = fraction > 0 and given[source] <= floor
            if given[source] < floor:
                room -= floor - given[source]
                given[source] = floor
            if not released:
                continue
            # Among sources of one deadline the larger fraction comes first, then the name.
            at = found
            while at > 0:
                other = waiting[at - 1]
                other_fraction = exact[block, other] & (_UNIT - 1)
                if due[block, other] < due[block, source] or (
                    due[block, other] == due[block, source] and other_fraction >= fraction
                ):
                    break
                waiting[at] = other
                at -= 1
            waiting[at] = source
            found += 1
        for at in range(room):
            given[waiting[at]] += 1
        result[block] = given


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
    due = np.empty(exact.shape, dtype=np.int32)
    for source in range(exact.shape[1]):
        following = ((exact[:, source] >> _UNIT_BITS) + 1) << _UNIT_BITS
        due[:, source] = np.searchsorted(exact[:, source], following)
    result = np.empty_like(exact)
    _hand_out(exact, due, ends, result)
    return result
