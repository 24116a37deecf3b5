"""The training order as a pure function: seed, sources and segments to any sample's window.

Samples are numbered from 0 through all segments. A segment is laid out in blocks of a fixed
number of samples, the last one cut at the segment's end. `apportion` says how many samples of
each source a block holds, a seeded permutation says where in the block they stand, and a
counter for each source, going on from segment to segment, says which draw of the source each
is. A source's windows are read in passes: every window once, in the pass's own seeded order.
Nothing depends on batch size, world size or what was read before, and a segment appended later
changes nothing already read.

Counters are kept in tokens, so a segment may have another sample length than the one before.
Windows of another length do not meet the old ones' edges, so a source then begins a new pass;
what was left of the old pass counts as read against the epoch cap, so that no text is ever read
more often than the cap says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.tokens import order
from skywright.tokens.apportion import MAX_SAMPLES, apportion
from skywright.tokens.mixture import SegmentMixture, check_mixture, planned, targets
from skywright.tokens.order import key_of
from skywright.tokens.supply import EpochConfig, Exhaustion, SourceSize, redistribute

Integers = NDArray[np.int64]

ORDER = 2  # raised when the same plan would give another order
MIN_BLOCK, MAX_BLOCKS = 64, 1 << 17  # samples a block, and blocks a segment, where not given


class Places(NamedTuple):
    """Where samples stand; five arrays of shape (n,).

    segment; source, an index into `Plan.names`; draw, counted in the source's passes of this
    length; epoch, the number of its pass; window, in the pass's shards.
    """

    segment: Integers
    source: Integers
    draw: Integers
    epoch: Integers
    window: Integers


@dataclass(frozen=True)
class Counter:
    """How far a source has been read before a segment.

    length: sample length of its present passes (0: none yet); passes: those begun before them;
    drawn: samples drawn in the present ones; tokens: read in all; epochs: the same in parts of
    the source.
    """

    length: int = 0
    passes: int = 0
    drawn: int = 0
    tokens: int = 0
    epochs: float = 0.0

    def at_length(self, length: int, windows: int) -> Counter:
        """The counter when samples of `length` are drawn next; `windows` are the old length's."""
        if length == self.length or not self.length:
            return replace(self, length=length)
        begun = self.passes + -(-self.drawn // windows)
        return replace(self, length=length, passes=begun, drawn=0)

    def after(self, drawn: int, windows: int) -> Counter:
        """The counter after `drawn` more samples."""
        return replace(
            self,
            drawn=self.drawn + drawn,
            tokens=self.tokens + drawn * self.length,
            epochs=self.epochs + drawn / windows,
        )


@dataclass(frozen=True)
class Layout:
    """A segment laid out: what each block holds, and where every source's counter stands."""

    mixture: SegmentMixture
    sequence_tokens: int
    first_sample: int
    first_token: int
    columns: Integers  # index into Plan.names of each source of the mixture
    segment: order.Segment
    before: tuple[Counter, ...]  # of every source, shape (names,)
    after: tuple[Counter, ...]
    exhausted: tuple[Exhaustion, ...]

    @property
    def samples(self) -> int:
        """Samples of the segment."""
        return self.segment.samples

    @property
    def end_sample(self) -> int:
        """The first sample after the segment."""
        return self.first_sample + self.samples

    @property
    def end_token(self) -> int:
        """Tokens of the run at the segment's end."""
        return self.first_token + self.samples * self.sequence_tokens


class Plan:
    """Which window of which source each sample is, computed before training.

    `sources`: what each source holds (`Shards.sizes`). `segments`: name, tokens and mixture; a
    segment has tokens // sequence_tokens samples. `epochs`: how often sources may be read.
    `block_samples`: samples apportioned together; without it 64, and more where a segment would
    have over 2^17 blocks. It is part of the order. Raises UserError, with the figure that is
    wrong, if the plan cannot be carried out.
    """

    def __init__(
        self,
        seed: int,
        sequence_tokens: int,
        sources: Mapping[str, SourceSize],
        segments: Sequence[SegmentMixture],
        epochs: EpochConfig | None = None,
        block_samples: int | None = None,
    ) -> None:
        if sequence_tokens < 1 or (block_samples is not None and block_samples < 1):
            raise UserError(
                f"plan: sequence_tokens ({sequence_tokens}) and block_samples ({block_samples})"
                " must be positive"
            )
        if not segments:
            raise UserError("plan: there are no segments; name at least one")
        self.seed = seed
        self.sequence_tokens = sequence_tokens
        self.block_samples = block_samples
        self.epochs = epochs or EpochConfig()
        # Sorted, so that the order of a recipe's keys means nothing.
        self.sources = {name: sources[name] for name in sorted(sources)}
        self.names = tuple(self.sources)
        for name in self.epochs.by_source:
            self._known(name, "epochs.by_source")
        self.segments = tuple(segments)
        layouts: list[Layout] = []
        for number, segment in enumerate(self.segments):
            if segment.name in [earlier.name for earlier in self.segments[:number]]:
                raise UserError(f"segment {segment.name!r}: the name stands twice; rename one")
            layouts.append(self._lay_out(number, segment, layouts[-1] if layouts else None))
        self.layouts = tuple(layouts)
        self.first_samples: Integers = np.array(
            [0, *(layout.end_sample for layout in layouts)], dtype=np.int64
        )

    @property
    def samples(self) -> int:
        """Samples of all segments."""
        return self.layouts[-1].end_sample

    @property
    def tokens(self) -> int:
        """Tokens of all segments: samples times their lengths."""
        return self.layouts[-1].end_token

    def _known(self, name: str, where: str) -> None:
        if name not in self.sources:
            raise UserError(
                f"{where}: there is no source {name!r}; there are {', '.join(self.names)}"
            )

    # ------------------------------------------------------------ laying out

    def _lay_out(self, number: int, segment: SegmentMixture, last: Layout | None) -> Layout:
        check_mixture(segment.name, segment.mixture)
        where = f"segment {segment.name!r}"
        names = sorted(segment.mixture)
        for name in names:
            self._known(name, f"{where}: mixture")
        length = segment.sequence_tokens or self.sequence_tokens
        samples = segment.tokens // length
        if not 1 <= samples <= MAX_SAMPLES:
            raise UserError(
                f"{where}: tokens: {segment.tokens:,} tokens are {samples:,} samples of"
                f" {length:,} tokens; a segment holds 1 to {MAX_SAMPLES:,}"
            )
        columns = [self.names.index(name) for name in names]
        before = list(last.after if last else [Counter()] * len(self.names))
        for column, name in zip(columns, names, strict=True):
            source, counter = self.sources[name], before[column]
            windows = source.windows[counter.length] if counter.length else 0
            before[column] = counter.at_length(length, windows)
        block = self.block_samples or MIN_BLOCK
        while self.block_samples is None and samples > block * MAX_BLOCKS:
            block *= 2
        ends = np.minimum(np.arange(1, -(-samples // block) + 1, dtype=np.int64) * block, samples)
        counts, exhausted = self._apportion(segment, length, ends, columns, before, last)
        after = list(before)
        for column, drawn in zip(columns, counts[-1].tolist(), strict=True):
            windows = self.sources[self.names[column]].windows[length]
            if drawn:
                after[column] = before[column].after(drawn, windows)
        return Layout(
            mixture=segment,
            sequence_tokens=length,
            first_sample=last.end_sample if last else 0,
            first_token=last.end_token if last else 0,
            columns=np.array(columns, dtype=np.int64),
            segment=order.Segment(
                counts=counts,
                samples=samples,
                block=block,
                drawn=np.array([before[c].drawn for c in columns], dtype=np.int64),
                windows=np.array(
                    [self.sources[name].windows[length] for name in names], dtype=np.int64
                ),
                first_pass=np.array([before[c].passes for c in columns], dtype=np.int64),
                keys=np.array([self._window_key(name) for name in names], dtype=np.uint64),
                key=key_of("block", self.seed, number),
            ),
            before=tuple(before),
            after=tuple(after),
            exhausted=tuple(exhausted),
        )

    def _window_key(self, name: str) -> np.uint64:
        return key_of("window", self.seed, self.sources[name].content or name)

    def _apportion(
        self,
        segment: SegmentMixture,
        length: int,
        ends: Integers,
        columns: Sequence[int],
        before: Sequence[Counter],
        last: Layout | None,
    ) -> tuple[NDArray[np.uint32], list[Exhaustion]]:
        """Samples of each source before each block, (blocks + 1, columns), within the caps."""
        where, samples = f"segment {segment.name!r}", int(ends[-1])
        wanted = targets(segment.mixture, samples, ends)
        allowed = np.zeros(len(columns), dtype=np.int64)
        for at, column in enumerate(columns):
            name = self.names[column]
            windows = self.sources[name].windows[length]
            if windows < 1 and wanted[-1, at] > 0:
                raise UserError(
                    f"{where}: mixture: {name}: its share needs {wanted[-1, at]:,.0f} samples, but"
                    f" the source has too few tokens for one of {length:,}; leave it out or give"
                    " it more documents"
                )
            passes = self.epochs.cap(name) - before[column].passes
            allowed[at] = max(0, int(passes * windows + 1e-9) - before[column].drawn)
        exhausted: list[Exhaustion] = []
        if self.epochs.exhausted == "redistribute":
            try:
                wanted, exhausted = redistribute(wanted, ends, allowed)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
        counts = np.zeros((len(ends) + 1, len(columns)), dtype=np.uint32)
        counts[1:] = apportion(wanted, ends)
        for at in np.flatnonzero(counts[-1] > allowed).tolist():
            name, column = self.names[columns[at]], columns[at]
            windows = self.sources[name].windows[length]
            block = int(np.argmax(counts[:, at] > allowed[at])) - 1
            samples_before = int(ends[block - 1]) if block else 0
            place = (last.end_token if last else 0) + samples_before * length
            total = before[column].drawn + int(counts[-1, at])
            read = before[column].passes + total / windows
            raise UserError(
                f"{where}: mixture: {name}: it would be read {read:.2f} times ({total:,} samples of"
                f" {windows:,} windows), more than {self.epochs.cap(name):g}, which is reached at"
                f" about {place:,} tokens; lower its share, shorten the segment, raise the cap, or"
                " set `exhausted: redistribute`"
            )
        return counts, exhausted

    # ------------------------------------------------------------ lookup

    def locate(self, samples: ArrayLike) -> Places:
        """Where samples stand. `samples`: sample numbers, shape (n,), any order.

        Raises UserError for a number outside the plan.
        """
        wanted = np.ascontiguousarray(samples, dtype=np.int64).reshape(-1)
        if wanted.size and not 0 <= int(wanted.min()) <= int(wanted.max()) < self.samples:
            wrong = int(wanted.min()) if int(wanted.min()) < 0 else int(wanted.max())
            raise UserError(
                f"plan: sample {wrong:,} is outside the plan of {self.samples:,} samples;"
                " append a segment to go on"
            )
        segments = np.searchsorted(self.first_samples, wanted, side="right") - 1
        result = Places(segments, *(np.empty_like(wanted) for _ in range(4)))
        for number in np.unique(segments):
            layout, here = self.layouts[number], segments == number
            columns, *places = order.locate(layout.segment, wanted[here] - layout.first_sample)
            result.source[here] = layout.columns[columns]
            for array, found in zip(result[2:], places, strict=True):
                array[here] = found
        return result

    def fingerprint(self, samples: int | None = None) -> str:
        """Hash of all that decides the first `samples` samples (default: every one).

        A run that resumes after n samples compares fingerprint(n): appended segments, new
        sources and another epoch cap leave it as it was.
        """
        upto = self.samples if samples is None else samples
        begun = [layout for layout in self.layouts if layout.first_sample < max(upto, 1)]
        used = sorted({self.names[i] for layout in begun for i in layout.columns})
        lengths = {layout.sequence_tokens for layout in begun}
        return stable_hash(
            {
                "order": ORDER,
                "seed": self.seed,
                "sources": {
                    name: [
                        self.sources[name].content or name,
                        {str(n): self.sources[name].windows[n] for n in sorted(lengths)},
                    ]
                    for name in used
                },
                "segments": [
                    {
                        "samples": layout.samples,
                        "sequence_tokens": layout.sequence_tokens,
                        "block_samples": layout.segment.block,
                        "planned": planned(layout.mixture.mixture),
                        "exhausted": [[e.column, e.sample] for e in layout.exhausted],
                    }
                    for layout in begun
                ],
            }
        )
