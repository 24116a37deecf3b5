"""What sources hold against what a mixture asks of them: epoch caps, and what follows at one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Whole samples differ from targets by less than one, and rounding 2^17 blocks to 2^-30 sample
# by less than this: a target cut so much below a whole number never rounds past it.
_MARGIN = 1e-3


def windows_in(tokens: int, sequence_tokens: int) -> int:
    """Windows of sequence_tokens + 1 tokens, one every sequence_tokens, in a stream.

    Neighbours share one token: it is the last label of one window and the first input of the
    next, so every token but the first is predicted exactly once a pass. A rest shorter than a
    window is not read.
    """
    return max(0, (tokens - 1) // sequence_tokens)


class EpochConfig(Config):
    """How often sources may be read, and what happens when one has been.

    `max_epochs` holds for every source, over the whole run (Skywork-13B report, section 3: high
    quality sources at most five times), `by_source` for those it names. When a source runs out,
    "stop" refuses the plan, naming the place; "redistribute" goes on, and the other sources of
    the segment take its share in proportion to theirs.
    """

    max_epochs: float = Field(default=5.0, gt=0)
    by_source: dict[str, float] = {}
    exhausted: Literal["stop", "redistribute"] = "stop"

    def cap(self, source: str) -> float:
        """Epochs that a source may be read."""
        return self.by_source.get(source, self.max_epochs)


@dataclass(frozen=True)
class SourceSize:
    """A source as the plan knows it.

    tokens: of its whole stream. windows: samples in one pass, by sequence length. content: a
    hash of the stream, "" where only its size is declared; it is part of the order.
    """

    tokens: int
    windows: Mapping[int, int]
    content: str = ""

    @classmethod
    def declared(cls, tokens: int, lengths: Iterable[int]) -> SourceSize:
        """A source that is not built yet, as large as is said."""
        return cls(tokens, {length: windows_in(tokens, length) for length in lengths})


@dataclass(frozen=True)
class Exhaustion:
    """A source that runs out: its column, and samples of the segment when it does."""

    column: int
    sample: int


def redistribute(
    targets: Floats, ends: Integers, allowed: Integers
) -> tuple[Floats, list[Exhaustion]]:
    """Cut each source's cumulative targets at what it may give; the others fill what is missing.

    targets (blocks, sources): rows sum to `ends` (blocks,). allowed (sources,): whole samples.
    Returns targets of the same kind, no entry above `allowed`, and what ran out, in order; a
    share that is freed goes to the sources still there in proportion to their own, block by
    block. Raises UserError if no source is left.
    """
    steps = np.diff(targets, axis=0, prepend=0)
    sizes = np.diff(ends, prepend=0).astype(np.float64)
    limit = np.maximum(allowed - _MARGIN, 0)
    spent = np.zeros(len(allowed), dtype=bool)
    found: list[Exhaustion] = []
    while True:
        upto = np.cumsum(steps, axis=0)
        over = (upto > limit) & ~spent
        if not over.any():
            return upto, found
        firsts = np.where(over.any(axis=0), over.argmax(axis=0), len(ends))
        column = int(firsts.argmin())
        block = int(firsts[column])
        before = float(upto[block - 1, column]) if block else 0.0
        part = max(float(limit[column]) - before, 0.0)
        begun = int(ends[block] - sizes[block])
        wanted = float(steps[block, column])
        found.append(Exhaustion(column, begun + int(sizes[block] * part / wanted)))
        spent[column] = True
        steps[block, column] = part
        steps[block + 1 :, column] = 0.0
        rest = steps[block:][:, ~spent]
        have = rest.sum(axis=1)
        need = sizes[block:] - steps[block:][:, spent].sum(axis=1)
        if (have[need > _MARGIN] <= 0).any():
            empty = int(np.argmax((need > _MARGIN) & (have <= 0)))
            raise UserError(
                f"after {int(ends[block + empty] - sizes[block + empty]):,} samples of the"
                " segment no source is left; shorten it, or give it other sources"
            )
        factor = np.divide(need, have, out=np.zeros_like(need), where=have > 0)
        steps[block:, ~spent] = rest * factor[:, None]
