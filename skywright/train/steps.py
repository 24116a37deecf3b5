"""Optimizer steps of a plan: which samples each one takes. A step never crosses a segment's end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from skywright.errors import UserError


@dataclass(frozen=True)
class Step:
    """One optimizer step. Tokens are counted after it."""

    number: int  # 1-based
    segment: int
    first_sample: int
    samples: int
    tokens: int
    segment_tokens: int
    ends_segment: bool


class Steps:
    """All steps of a run, computed on demand from the plan's segments.

    `names` and `samples` are the plan's segments. The last step of a segment takes what is left
    and may be smaller than `batch_samples`.
    """

    def __init__(
        self,
        names: Sequence[str],
        samples: Sequence[int],
        batch_samples: int,
        sequence_tokens: int,
    ) -> None:
        self._batch = batch_samples
        self._sequence_tokens = sequence_tokens
        self._samples = list(samples)
        self._first_samples = [0, *accumulate(self._samples)]
        self._first_steps = [1]
        for name, count in zip(names, self._samples, strict=True):
            if count < 1:
                raise UserError(
                    f"segment {name}: shorter than one sample of {sequence_tokens} tokens; "
                    "give it more tokens"
                )
            self._first_steps.append(self._first_steps[-1] + -(-count // batch_samples))

    def __len__(self) -> int:
        return self._first_steps[-1] - 1

    def segment_tokens(self, segment: int) -> int:
        """Tokens of the whole segment."""
        return self._samples[segment] * self._sequence_tokens

    def __getitem__(self, number: int) -> Step:
        """Step `number`, counted from 1."""
        if not 1 <= number <= len(self):
            raise IndexError(f"step {number} of {len(self)}")
        segment = bisect_right(self._first_steps, number) - 1
        within = (number - self._first_steps[segment]) * self._batch
        samples = min(self._batch, self._samples[segment] - within)
        first = self._first_samples[segment] + within
        return Step(
            number=number,
            segment=segment,
            first_sample=first,
            samples=samples,
            tokens=(first + samples) * self._sequence_tokens,
            segment_tokens=(within + samples) * self._sequence_tokens,
            ends_segment=within + samples == self._samples[segment],
        )


def due(step: Step, step_tokens: int, every: int | None) -> bool:
    """Whether a multiple of `every` tokens is reached in this step of `step_tokens` tokens."""
    return every is not None and step.tokens // every > (step.tokens - step_tokens) // every
