"""Samples by number: the plan's windows, read from memory-mapped shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.engine.compiled import compiled
from skywright.errors import UserError
from skywright.tokens.plan import Plan
from skywright.tokens.shards import Shards, Tokens

Integers = NDArray[np.int64]
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Documents:
    """Where documents begin in a batch of n samples of T tokens.

    bounds int32 (documents + 1,): in the inputs laid out one after another, the first token of
    each document or part of one, and n T at the end (cumulative lengths, as kernels for documents
    of unequal length take them). positions int32 (n, T): each token's place in its part.
    """

    bounds: NDArray[np.int32]
    positions: NDArray[np.int32]


@dataclass(frozen=True)
class Batch:
    """Samples as the model takes them: int64 (n, T) each, without a copy of the rows read.

    A label is the token after its input. `documents` is there when asked for.
    """

    inputs: Integers
    labels: Integers
    documents: Documents | None = None


@compiled
def _copy_rows(tokens, positions, rows, out):  # type: ignore[no-untyped-def]
    for i in range(rows.size):
        row, position = rows[i], positions[i]
        for k in range(out.shape[1]):
            out[row, k] = tokens[position + k]


@compiled
def _mark_documents(offsets, firsts, position, rows, starts):  # type: ignore[no-untyped-def]
    """Set starts[row, k] where a document begins at token k of a row; `firsts[i]`: the first
    document that begins after position[i]."""
    width = starts.shape[1]
    for i in range(rows.size):
        starts[rows[i], 0] = True
        document = firsts[i]
        while document < offsets.size - 1 and offsets[document] - position[i] < width:
            starts[rows[i], offsets[document] - position[i]] = True
            document += 1


class Loader:
    """Reads samples of a plan. It holds no position: any sample, in any order, at any time.

    Raises UserError if the plan was made for other shards than these.
    """

    def __init__(self, shards: Shards, plan: Plan) -> None:
        lengths = sorted({layout.sequence_tokens for layout in plan.layouts})
        for name, planned in plan.sources.items():
            present = shards.source(name)
            here = shards.sizes(lengths)[name]
            if here.content != planned.content or dict(here.windows) != {
                length: planned.windows[length] for length in lengths
            }:
                raise UserError(
                    f"{shards.folder}: source {name!r} has {present.tokens:,} tokens"
                    f" ({here.content[:12]}), but the plan was made for {planned.tokens:,}"
                    f" ({planned.content[:12] or 'expected'}); make the plan from these shards"
                )
        self.shards = shards
        self.plan = plan

    def samples(self, first: int, count: int) -> Integers:
        """Samples first .. first+count-1: int64 of shape (count, sequence_tokens + 1)."""
        return self.rows(np.arange(first, first + count, dtype=np.int64))

    def rows(self, samples: ArrayLike) -> Integers:
        """The samples of these numbers, in this order: int64, shape (n, sequence_tokens + 1).

        They must be of one length. Rank r of a world of w reads `rows(numbers[r::w])` of a
        batch's sample numbers.
        """
        return self._read(samples, None)

    def batch(self, samples: ArrayLike, documents: bool = False) -> Batch:
        """The samples of these numbers as inputs and labels, with their documents if asked for."""
        numbers = np.asarray(samples, dtype=np.int64).reshape(-1)
        starts = None
        if documents:
            starts = np.zeros((numbers.size, self._length(numbers)), dtype=np.bool_)
        rows = self._read(numbers, starts)
        found = None if starts is None else _documents(starts)
        return Batch(rows[:, :-1], rows[:, 1:], found)

    def batches(
        self, samples: Iterable[ArrayLike], documents: bool = False, ahead: int = 2
    ) -> Iterator[Batch]:
        """`batch` for each set of sample numbers, read in a thread up to `ahead` of its use."""
        return prefetch(lambda numbers: self.batch(numbers, documents), samples, ahead)

    def _length(self, numbers: Integers) -> int:
        if not numbers.size:
            return self.plan.sequence_tokens
        segments = np.searchsorted(self.plan.first_samples, numbers, side="right") - 1
        found = {self.plan.layouts[int(s)].sequence_tokens for s in np.unique(segments)}
        if len(found) > 1:
            raise ValueError(f"samples of {sorted(found)} tokens cannot stand in one batch")
        return found.pop()

    def _read(self, samples: ArrayLike, starts: NDArray[np.bool_] | None) -> Integers:
        places = self.plan.locate(samples)
        numbers = np.asarray(samples, dtype=np.int64).reshape(-1)
        length = self._length(numbers)
        result = np.empty((numbers.size, length + 1), dtype=np.int64)
        for index in np.unique(places.source):
            name = self.plan.names[index]
            rows = np.flatnonzero(places.source == index)
            # Ascending positions: the disk is read forwards.
            rows = rows[np.argsort(places.window[rows], kind="stable")]
            positions = places.window[rows] * length
            _copy(self.shards.parts(name), positions, rows, result)
            if starts is not None:
                offsets = self.shards.offsets(name)
                firsts = np.searchsorted(offsets, positions, side="right")
                _mark_documents(offsets, firsts, positions, rows, starts)
        return result


def _copy(parts: tuple[Tokens, ...], positions: Integers, rows: Integers, out: Integers) -> None:
    """Copy windows of a stream that lies in several parts; a window may cross their bounds."""
    width = out.shape[1]
    firsts = np.cumsum([0, *(part.size for part in parts)])
    owners = np.searchsorted(firsts, positions, side="right") - 1
    crossing = positions + width > firsts[owners + 1]
    for owner in np.unique(owners):
        here = (owners == owner) & ~crossing
        _copy_rows(parts[owner], positions[here] - firsts[owner], rows[here], out)
    for at in np.flatnonzero(crossing):
        owner, begin, done = int(owners[at]), int(positions[at]), 0
        while done < width:
            start = begin + done - int(firsts[owner])
            piece = parts[owner][start : start + width - done]
            out[rows[at], done : done + piece.size] = piece
            done += piece.size
            owner += 1


def _documents(starts: NDArray[np.bool_]) -> Documents:
    flat = np.flatnonzero(starts)
    lengths = np.diff(flat, append=starts.size)
    positions = np.arange(starts.size) - np.repeat(flat, lengths)
    return Documents(
        np.append(flat, starts.size).astype(np.int32),
        positions.astype(np.int32).reshape(starts.shape),
    )


def prefetch(make: Callable[[Key], Value], keys: Iterable[Key], ahead: int) -> Iterator[Value]:
    """make(key) for each key in order, up to `ahead` of them made in a thread before their use."""
    rest = iter(keys)
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        waiting: deque[Future[Value]] = deque(pool.submit(make, k) for k in islice(rest, ahead + 1))
        try:
            while waiting:
                value = waiting.popleft().result()
                waiting.extend(pool.submit(make, key) for key in islice(rest, 1))
                yield value
        finally:
            for future in waiting:
                future.cancel()
