"""Optimizer steps of a plan: which samples each one takes. A step never crosses a segment's end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Step:
    """One optimizer step. Tokens are counted after it."""

    number: int  # 1-based
    segment: int
    first_sample: int
    samples: int
    sequence_tokens: int  # of each sample
    tokens: int
    segment_tokens: int
    ends_segment: bool

    @property
    def sample_numbers(self) -> range:
        """The plan's samples that it reads."""
        return range(self.first_sample, self.first_sample + self.samples)

    @property
    def last_sample(self) -> int:
        """The last of them."""
        return self.first_sample + self.samples - 1

    @property
    def step_tokens(self) -> int:
        """Tokens of this step alone."""
        return self.samples * self.sequence_tokens


class Steps:
    """All steps of a run, computed on demand from the plan's segments.

    `samples` and `lengths` are those of the plan's segments: how many, of how many tokens. The
    last step of a segment takes what is left and may be smaller than `global_batch_tokens`.
    """

    def __init__(
        self, samples: Sequence[int], lengths: Sequence[int], global_batch_tokens: int
    ) -> None:
        self._samples, self._lengths = list(samples), list(lengths)
        self._batches = [global_batch_tokens // length for length in lengths]
        tokens = [count * length for count, length in zip(samples, lengths, strict=True)]
        self._first_samples = [0, *accumulate(self._samples)]
        self._first_tokens = [0, *accumulate(tokens)]
        steps = [-(-n // batch) for n, batch in zip(samples, self._batches, strict=True)]
        self._first_steps = [1, *accumulate(steps, initial=1)][1:]

    def __len__(self) -> int:
        return self._first_steps[-1] - 1

    def segment_tokens(self, segment: int) -> int:
        """Tokens of the whole segment."""
        return self._samples[segment] * self._lengths[segment]

    def __getitem__(self, number: int) -> Step:
        """Step `number`, counted from 1."""
        if not 1 <= number <= len(self):
            raise IndexError(f"step {number} of {len(self)}")
        segment = bisect_right(self._first_steps, number) - 1
        batch, length = self._batches[segment], self._lengths[segment]
        within = (number - self._first_steps[segment]) * batch
        samples = min(batch, self._samples[segment] - within)
        segment_tokens = (within + samples) * length
        return Step(
            number=number,
            segment=segment,
            first_sample=self._first_samples[segment] + within,
            samples=samples,
            sequence_tokens=length,
            tokens=self._first_tokens[segment] + segment_tokens,
            segment_tokens=segment_tokens,
            ends_segment=within + samples == self._samples[segment],
        )


def due(step: Step, every: int | None) -> bool:
    """Whether a multiple of `every` tokens is reached in this step."""
    return every is not None and step.tokens // every > (step.tokens - step.step_tokens) // every
