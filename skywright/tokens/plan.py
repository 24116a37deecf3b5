"""The training order as a pure function: seed, sources and segments to any sample's window.

Samples are numbered from 0 through all segments. A segment is laid out in blocks of a fixed
number of samples, the last one cut at the segment's end. `apportion` says how many samples of
each source a block holds, a seeded permutation says where in the block they stand, and a
counter for each source, going on from segment to segment, says which draw of the source each
is. The k-th draw of a source is a window of epoch k // windows, in that epoch's own seeded
order. Nothing depends on batch size, world size or what was read before, and a segment appended
later changes nothing already read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.tokens.apportion import MAX_SAMPLES, apportion
from skywright.tokens.mixture import SegmentMixture, check_mixture, planned, targets
from skywright.tokens.permute import block_orders, key_of, permute

Integers = NDArray[np.int64]

MAX_EPOCHS = 5.0  # Skywork-13B report, section 3: no source is read more than five times
BLOCK_SAMPLES = 64  # laying out a block takes about 20 us (measured, docs/tokens.md)
_CURVE_POINTS = 20


@dataclass(frozen=True)
class _Layout:
    """A segment laid out: `counts[b, c]` samples of source `columns[c]` in blocks before b."""

    mixture: SegmentMixture
    samples: int
    first_sample: int
    columns: Integers  # index into Plan.names of each source of the mixture
    counts: NDArray[np.uint32]  # shape (blocks + 1, columns)
    drawn_before: Integers  # draws of every source before this segment, shape (names,)
    key: np.uint64

    @property
    def drawn(self) -> Integers:
        """Draws of every source of the plan in this segment, shape (names,)."""
        result = np.zeros_like(self.drawn_before)
        result[self.columns] = self.counts[-1]
        return result


class Plan:
    """Which window of which source each sample is, computed before training.

    `sources`: windows of sequence_tokens + 1 tokens in each source (`Shards.windows`).
    `segments`: objects with `name`, `tokens` and `mixture`; a segment has
    tokens // sequence_tokens samples. `max_epochs`: how often a source may be read over the
    whole run. `block_samples`: samples apportioned together; it is part of the order.
    Raises UserError, with the figure that is wrong, if the plan cannot be carried out.
    """

    def __init__(
        self,
        seed: int,
        sequence_tokens: int,
        sources: Mapping[str, int],
        segments: Sequence[SegmentMixture],
        max_epochs: float = MAX_EPOCHS,
        block_samples: int = BLOCK_SAMPLES,
    ) -> None:
        if sequence_tokens < 1 or block_samples < 1 or not max_epochs > 0:
            raise UserError(
                f"plan: sequence_tokens ({sequence_tokens}), block_samples ({block_samples}) and"
                f" max_epochs ({max_epochs:g}) must be positive"
            )
        if not segments:
            raise UserError("plan: there are no segments; name at least one")
        self.seed = seed
        self.sequence_tokens = sequence_tokens
        self.block_samples = block_samples
        self.max_epochs = max_epochs
        # Sorted, so that the order of a recipe's keys means nothing.
        self.sources = {name: int(sources[name]) for name in sorted(sources)}
        self.names = tuple(self.sources)
        self.segments = tuple(segments)
        self._layouts: list[_Layout] = []
        seen: set[str] = set()
        for number, segment in enumerate(self.segments):
            if segment.name in seen:
                raise UserError(f"segment {segment.name!r}: the name stands twice; rename one")
            seen.add(segment.name)
            self._layouts.append(self._lay_out(number, segment))
        self.first_samples: Integers = np.array(
            [layout.first_sample for layout in self._layouts] + [self._end(self._layouts[-1])],
            dtype=np.int64,
        )

    @property
    def samples(self) -> int:
        """Samples of all segments."""
        return int(self.first_samples[-1])

    @property
    def tokens(self) -> int:
        """Tokens of all segments: samples times sequence_tokens."""
        return self.samples * self.sequence_tokens

    @staticmethod
    def _end(layout: _Layout) -> int:
        return layout.first_sample + layout.samples

    def _lay_out(self, number: int, segment: SegmentMixture) -> _Layout:
        check_mixture(segment.name, segment.mixture)
        where = f"segment {segment.name!r}"
        names = sorted(segment.mixture)
        unknown = [name for name in names if name not in self.sources]
        if unknown:
            raise UserError(
                f"{where}: mixture: there is no source {unknown[0]!r}; there are"
                f" {', '.join(self.names)}"
            )
        samples = segment.tokens // self.sequence_tokens
        if not 1 <= samples <= MAX_SAMPLES:
            raise UserError(
                f"{where}: tokens: {segment.tokens:,} tokens are {samples:,} samples of"
                f" {self.sequence_tokens:,} tokens; a segment holds 1 to {MAX_SAMPLES:,}"
            )
        before = self._layouts[-1] if self._layouts else None
        blocks = -(-samples // self.block_samples)
        ends = np.minimum(np.arange(1, blocks + 1, dtype=np.int64) * self.block_samples, samples)
        counts = np.zeros((blocks + 1, len(names)), dtype=np.uint32)
        counts[1:] = apportion(targets(segment.mixture, samples, ends), ends)
        layout = _Layout(
            mixture=segment,
            samples=samples,
            first_sample=self._end(before) if before else 0,
            columns=np.array([self.names.index(name) for name in names], dtype=np.int64),
            counts=counts,
            drawn_before=(
                before.drawn_before + before.drawn
                if before
                else np.zeros(len(self.names), dtype=np.int64)
            ),
            key=key_of("block", self.seed, number),
        )
        self._check_supply(layout, where)
        return layout

    def _check_supply(self, layout: _Layout, where: str) -> None:
        drawn = layout.drawn
        for index, name in enumerate(self.names):
            windows = self.sources[name]
            total = int(layout.drawn_before[index] + drawn[index])
            if drawn[index] and windows < 1:
                raise UserError(
                    f"{where}: mixture: {name}: its share needs {int(drawn[index]):,} samples, but"
                    f" the source has too few tokens for one of {self.sequence_tokens:,}; leave"
                    " it out or give it more documents"
                )
            if drawn[index] and total > self.max_epochs * windows:
                allowed = int(self.max_epochs * windows)
                column = int(np.flatnonzero(layout.columns == index)[0])
                left = allowed - int(layout.drawn_before[index])
                block = max(int(np.searchsorted(layout.counts[:, column], left, "right")) - 1, 0)
                at = (layout.first_sample + block * self.block_samples) * self.sequence_tokens
                raise UserError(
                    f"{where}: mixture: {name}: it would be read {total / windows:.2f} times"
                    f" ({total:,} samples of {windows:,} windows), beyond the cap of"
                    f" {self.max_epochs:g} epochs, which is reached at about {at:,} tokens of the"
                    " run; lower its share or the segment's tokens, or give it more documents"
                )

    # ------------------------------------------------------------ lookup

    def locate(self, samples: ArrayLike) -> tuple[Integers, Integers, Integers]:
        """Where samples stand: segment index, source index (into `names`), draw of that source.

        `samples`: sample numbers, shape (n,), any order. Returns three arrays of shape (n,).
        Raises UserError for a number outside the plan.
        """
        wanted = np.asarray(samples, dtype=np.int64).reshape(-1)
        if wanted.size and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.samples:
            wrong = int(wanted.min()) if int(wanted.min()) < 0 else int(wanted.max())
            raise UserError(
                f"plan: sample {wrong:,} is outside the plan of {self.samples:,} samples;"
                " append a segment to go on"
            )
        segments = np.searchsorted(self.first_samples, wanted, side="right") - 1
        sources, draws = np.zeros_like(wanted), np.zeros_like(wanted)
        for number in np.unique(segments):
            here = np.flatnonzero(segments == number)
            layout = self._layouts[number]
            sources[here], draws[here] = self._locate_in(layout, wanted[here] - layout.first_sample)
        return segments.astype(np.int64), sources, draws

    def _locate_in(self, layout: _Layout, samples: Integers) -> tuple[Integers, Integers]:
        blocks, index = np.unique(samples // self.block_samples, return_inverse=True)
        before = layout.counts[blocks].astype(np.int64)
        upto = np.cumsum(layout.counts[blocks + 1].astype(np.int64) - before, axis=1)
        orders = block_orders(blocks, upto[:, -1], layout.key)
        # A block's slots are its sources' draws, source after source; the order mixes them.
        slots = orders[index, samples % self.block_samples]
        columns = (slots[:, None] >= upto[index]).sum(axis=1)
        first_slots = np.where(columns > 0, upto[index, columns - 1], 0)
        sources = layout.columns[columns]
        draws = layout.drawn_before[sources] + before[index, columns] + slots - first_slots
        return sources, draws

    def window(self, source: str | int, draws: ArrayLike) -> tuple[Integers, Integers]:
        """Epoch and window index of the given draws (0, 1, ...) of a source; same shape.

        In each epoch every window comes exactly once, in that epoch's own order.
        """
        name = source if isinstance(source, str) else self.names[source]
        windows = self.sources[name]
        wanted = np.asarray(draws, dtype=np.int64)
        if windows < 1:
            raise UserError(f"plan: the source {name!r} has no window to draw")
        epochs = wanted // windows
        indices = wanted % windows
        for epoch in np.unique(epochs):
            here = epochs == epoch
            key = key_of("window", self.seed, name, int(epoch))
            indices[here] = permute(indices[here], windows, key)
        return epochs, indices

    # ------------------------------------------------------------ what it comes to

    def realised(self) -> list[dict[str, Any]]:
        """For each segment: name, the share each source really gets, and epochs read by its end."""
        result = []
        for layout in self._layouts:
            drawn = layout.drawn
            total = layout.drawn_before + drawn
            result.append(
                {
                    "name": layout.mixture.name,
                    "shares": {
                        self.names[i]: float(drawn[i] / layout.samples) for i in layout.columns
                    },
                    # Only sources met so far: a source that a later segment brings must not
                    # change what is said of this one.
                    "epochs": {
                        name: float(total[i] / self.sources[name]) if total[i] else 0.0
                        for i, name in enumerate(self.names)
                        if total[i] or i in layout.columns
                    },
                }
            )
        return result

    def summary(self) -> dict[str, Any]:
        """The plan as JSON: realised and planned shares, epochs, a curve of up to 20 points.

        A curve point gives each source's realised share in the stretch of whole blocks that
        ends at `tokens` tokens of the run; a segment of fewer than 20 blocks has one a block.
        """
        segments = []
        for layout, realised in zip(self._layouts, self.realised(), strict=True):
            segments.append(
                {
                    **realised,
                    "samples": layout.samples,
                    "tokens": layout.samples * self.sequence_tokens,
                    "first_sample": layout.first_sample,
                    "planned": planned(layout.mixture.mixture),
                    "curve": self._curve(layout),
                }
            )
        return {
            "seed": self.seed,
            "sequence_tokens": self.sequence_tokens,
            "block_samples": self.block_samples,
            "max_epochs": self.max_epochs,
            "fingerprint": self.fingerprint(),
            "segments": segments,
            "sources": {
                name: {"tokens": windows * self.sequence_tokens, "windows": windows}
                for name, windows in self.sources.items()
            },
        }

    def _curve(self, layout: _Layout) -> list[dict[str, Any]]:
        blocks = len(layout.counts) - 1
        points = min(_CURVE_POINTS, blocks)
        edges = [math.floor(blocks * point / points) for point in range(points + 1)]
        curve = []
        for start, stop in pairwise(edges):
            inside = layout.counts[stop].astype(np.int64) - layout.counts[start]
            last = min(stop * self.block_samples, layout.samples)
            curve.append(
                {
                    "tokens": (layout.first_sample + last) * self.sequence_tokens,
                    "shares": {
                        self.names[i]: float(count / inside.sum())
                        for i, count in zip(layout.columns, inside, strict=True)
                    },
                }
            )
        return curve

    def fingerprint(self, samples: int | None = None) -> str:
        """Hash of all that decides the first `samples` samples (default: every one).

        A run that resumes after n samples compares fingerprint(n): appended segments, new
        sources and another epoch cap leave it as it was.
        """
        upto = self.samples if samples is None else samples
        begun = [layout for layout in self._layouts if layout.first_sample < max(upto, 1)]
        used = sorted({self.names[i] for layout in begun for i in layout.columns})
        return stable_hash(
            {
                "order": 1,  # raised when the same plan would give another order
                "seed": self.seed,
                "sequence_tokens": self.sequence_tokens,
                "block_samples": self.block_samples,
                "sources": {name: self.sources[name] for name in used},
                "segments": [
                    {"samples": layout.samples, "planned": planned(layout.mixture.mixture)}
                    for layout in begun
                ],
            }
        )
