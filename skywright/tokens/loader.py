"""Samples by number: the plan's windows, read from memory-mapped shards."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.errors import UserError
from skywright.tokens.plan import Plan
from skywright.tokens.shards import Shards


class Loader:
    """Reads samples of a plan. It holds no position: any sample, in any order, at any time.

    Raises UserError if the plan was made for shards with other windows than these.
    """

    def __init__(self, shards: Shards, plan: Plan) -> None:
        present = shards.windows(plan.sequence_tokens)
        for name, windows in plan.sources.items():
            if name not in present:
                raise UserError(
                    f"{shards.folder}: there is no source {name!r}, which the plan reads; there"
                    f" are {', '.join(sorted(present))}"
                )
            if present[name] != windows:
                raise UserError(
                    f"{shards.folder}: source {name!r} has {present[name]:,} windows, but the"
                    f" plan was made for {windows:,}; make the plan from these shards"
                )
        self.shards = shards
        self.plan = plan

    def samples(self, first: int, count: int) -> NDArray[np.int32]:
        """Samples first .. first+count-1: ids of shape (count, sequence_tokens + 1)."""
        return self.rows(np.arange(first, first + count, dtype=np.int64))

    def rows(self, samples: ArrayLike) -> NDArray[np.int32]:
        """The samples of these numbers, in this order: shape (n, sequence_tokens + 1).

        Rank r of a world of w reads `rows(numbers[r::w])` of a batch's sample numbers.
        """
        _, sources, draws = self.plan.locate(samples)
        length = self.plan.sequence_tokens
        result = np.empty((sources.size, length + 1), dtype=np.int32)
        span = np.arange(length + 1, dtype=np.int64)
        for index in np.unique(sources):
            here = np.flatnonzero(sources == index)
            _, windows = self.plan.window(int(index), draws[here])
            # Ascending positions: the disk is read forwards.
            order = np.argsort(windows)
            positions = windows[order, None] * length + span
            result[here[order]] = self.shards.tokens(self.plan.names[index])[positions]
        return result
