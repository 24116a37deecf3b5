"""Samples by number: the plan's windows, read from memory-mapped shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.errors import UserError
from skywright.tokens.infilling import InfillingConfig, infill
from skywright.tokens.order import key_of, mixed
from skywright.tokens.plan import Places, Plan
from skywright.tokens.shards import PackingName, Shards
from skywright.tokens.windows import PADDING, Concatenated, Packed, Windows, copy_pieces

Integers = NDArray[np.int64]
Starts = NDArray[np.bool_]
Key = TypeVar("Key")
Value = TypeVar("Value")

IGNORED = -100  # a label that counts for nothing (torch's own default)


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
    """Samples as the model takes them: int64 (n, T) each, views of the rows read.

    A label is the token after its input, or `IGNORED`. `documents` is there when asked for.
    """

    inputs: Integers
    labels: Integers
    documents: Documents | None = None


class Loader:
    """Reads samples of a plan. It holds no position: any sample, in any order, at any time.

    `packing` must be the one that the plan's sources were counted with (`Shards.sizes`).
    `infilling` rearranges documents of the sources it names. Raises UserError if the plan was
    made for other shards than these.
    """

    def __init__(
        self,
        shards: Shards,
        plan: Plan,
        packing: PackingName = "concatenate",
        infilling: Mapping[str, InfillingConfig] | None = None,
    ) -> None:
        lengths = sorted({layout.sequence_tokens for layout in plan.layouts})
        for name, planned in plan.sources.items():
            present = shards.source(name)
            here = shards.sizes(lengths, packing, [name])[name]
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
        self.packing = packing
        self.infilling = dict(infilling or {})
        for settings in self.infilling.values():
            settings.check(shards.manifest.vocab_size)

    def samples(self, first: int, count: int) -> Integers:
        """Samples first .. first+count-1: int64 of shape (count, sequence_tokens + 1)."""
        return self.rows(np.arange(first, first + count, dtype=np.int64))

    def rows(self, samples: ArrayLike) -> Integers:
        """The samples of these numbers, in this order: int64, shape (n, sequence_tokens + 1).

        They must be of one length. Rank r of a world of w reads `rows(numbers[r::w])` of a
        batch's sample numbers. Padding is -1.
        """
        return self._read(samples, documents=False)[0]

    def batch(self, samples: ArrayLike, documents: bool = False) -> Batch:
        """The samples of these numbers as inputs and labels, with their documents if asked for.

        Packed rows are padded with EOS. Padding is no label, and neither is the first token of a
        document behind another one, which nothing foretells.
        """
        rows, starts = self._read(samples, documents or self.packing == "best_fit")
        inputs, labels = rows[:, :-1], rows[:, 1:]
        if self.packing == "best_fit":
            assert starts is not None
            labels = np.where(starts[:, 1:] | (labels == PADDING), IGNORED, labels)
            inputs[inputs == PADDING] = self.shards.manifest.eos_id
        found = _documents(starts[:, :-1]) if documents and starts is not None else None
        return Batch(inputs, labels, found)

    def batches(
        self, samples: Iterable[ArrayLike], documents: bool = False, ahead: int = 2
    ) -> Iterator[Batch]:
        """`batch` for each set of sample numbers, read in a thread up to `ahead` of its use."""
        return prefetch(lambda numbers: self.batch(numbers, documents), samples, ahead)

    def _length(self, segments: Integers) -> int:
        if not segments.size:
            return self.plan.sequence_tokens
        found = {self.plan.layouts[int(s)].sequence_tokens for s in np.unique(segments)}
        if len(found) > 1:
            raise ValueError(f"samples of {sorted(found)} tokens cannot stand in one batch")
        return found.pop()

    def _windows(self, source: str, length: int) -> Windows:
        if self.packing == "best_fit":
            return Packed(self.shards.packing(source, length))
        return Concatenated(self.shards, source, length)

    def _read(self, samples: ArrayLike, documents: bool) -> tuple[Integers, Starts | None]:
        """Rows (n, T + 1), and where documents begin in them if asked for."""
        places = self.plan.locate(samples)
        length = self._length(places.segment)
        rows = np.empty((places.window.size, length + 1), dtype=np.int64)
        if self.packing == "best_fit":
            rows.fill(PADDING)
        starts = np.zeros(rows.shape, dtype=np.bool_) if documents else None
        for index in np.unique(places.source):
            name = self.plan.names[index]
            here = np.flatnonzero(places.source == index)
            # Ascending positions: the disk is read forwards.
            here = here[np.argsort(places.window[here], kind="stable")]
            windows = self._windows(name, length)
            pieces = windows.pieces(places.window[here], here)
            copy_pieces(self.shards.parts(name), pieces, rows)
            if name in self.infilling:
                marked = np.zeros(rows.shape, dtype=np.bool_) if starts is None else starts
                windows.mark(pieces, marked)
                self._infill(name, places, here, rows, marked)
            elif starts is not None:
                windows.mark(pieces, starts)
        if starts is not None:
            starts[:, 1:] |= (rows[:, 1:] == PADDING) & (rows[:, :-1] != PADDING)
        return rows, starts

    def _infill(
        self, name: str, places: Places, here: Integers, rows: Integers, starts: Starts
    ) -> None:
        """Rearrange the documents of one source's rows, in place, and mark where they begin."""
        row, column = np.nonzero(starts[here])
        used = (rows[here] != PADDING).sum(axis=1)
        ends = np.where(np.append(row[1:], -1) == row, np.append(column[1:], 0), used[row])
        offsets = np.searchsorted(row, np.arange(here.size + 1))
        keys = mixed(
            key_of("infill", self.plan.seed, name), places.epoch[here], places.window[here]
        )
        eos_id, bos_id = self.shards.manifest.eos_id, self.shards.manifest.bos_id
        changed, lengths = infill(
            rows[here], offsets, ends - column, keys, self.infilling[name],
            PADDING if bos_id is None else bos_id, eos_id,
        )  # fmt: skip
        rows[here] = changed
        upto = np.cumsum(lengths) - lengths
        begins = upto - upto[offsets[row]]
        starts[here] = False
        starts[here[row[lengths > 0]], begins[lengths > 0]] = True


def _documents(starts: Starts) -> Documents:
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
