"""Learning rate as a function of the tokens trained in a segment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from skywright.config import Config, TokenCount

Kind = Literal["cosine", "linear", "wsd", "constant"]
DecayShape = Literal["linear", "sqrt", "exponential"]


class ScheduleConfig(Config):
    """Warm-up to `peak_lr`, then what `kind` says. All tokens count from the segment's start.

    cosine, linear  fall from the warm-up's end to `min_lr` at `decay_tokens`, constant from there
    wsd             warm-up, `stable_tokens` at the peak, then a fall to `min_lr` of `decay_shape`
    constant        the peak
    """

    kind: Kind
    peak_lr: float = Field(gt=0)
    min_lr: float | None = Field(default=None, ge=0, description="where the fall ends")
    warmup_tokens: TokenCount = Field(default=0, ge=0, description="linear rise to peak_lr")
    warmup_from: Literal["zero", "last"] = Field(
        default="zero", description="where the warm-up begins: 0, or the last segment's last rate"
    )
    stable_tokens: TokenCount | None = Field(
        default=None, ge=0, description="wsd only: tokens at peak_lr between warm-up and fall"
    )
    decay_tokens: TokenCount | None = Field(
        default=None, gt=0, description="where min_lr is reached, warm-up included; "
        "None: at the segment's end"
    )  # fmt: skip
    decay_shape: DecayShape | None = Field(default=None, description="wsd only; None: sqrt")

    @model_validator(mode="after")
    def _complete(self) -> ScheduleConfig:
        if self.kind == "constant":
            if self.min_lr is not None or self.decay_tokens is not None:
                raise ValueError("a constant schedule takes neither min_lr nor decay_tokens")
        elif self.min_lr is None:
            raise ValueError(f"a {self.kind} schedule needs min_lr")
        elif self.min_lr > self.peak_lr:
            raise ValueError(f"min_lr {self.min_lr} is above peak_lr {self.peak_lr}")
        if self.kind == "wsd":
            if self.stable_tokens is None:
                raise ValueError("a wsd schedule needs stable_tokens")
            if self.decay_shape == "exponential" and not self.min_lr:
                raise ValueError("an exponential fall never reaches 0; give min_lr above it")
        elif self.stable_tokens is not None or self.decay_shape is not None:
            raise ValueError("only a wsd schedule takes stable_tokens and decay_shape")
        if self.decay_tokens is not None and self.decay_tokens <= self.decay_begins:
            before = "warmup_tokens" + (" + stable_tokens" if self.kind == "wsd" else "")
            raise ValueError(f"decay_tokens must be more than {before}")
        if self.warmup_from == "last" and not self.warmup_tokens:
            raise ValueError("warmup_from needs warmup_tokens")
        return self

    @property
    def decay_begins(self) -> int:
        """Tokens of the segment after which the rate falls."""
        return self.warmup_tokens + (self.stable_tokens or 0)


def learning_rate(
    schedule: ScheduleConfig, tokens: int, segment_tokens: int, last_lr: float = 0.0
) -> float:
    """Learning rate of the step that brings the segment from fewer tokens to `tokens`.

    The first step thus already has a rate above zero, and the last one has exactly `min_lr`.
    `last_lr` is the rate at which the segment before ended. With x from 0 to 1 over the fall:

    cosine       min + (peak - min) (1 + cos(pi x)) / 2   Loshchilov and Hutter 2017, equation 5
    linear       min + (peak - min) (1 - x)
    sqrt         min + (peak - min) (1 - sqrt(x))         Hägele et al. 2024, section 3.2
    exponential  peak (min / peak)^x                      Hu et al. 2024 (MiniCPM), section 4.3
    """
    peak, warmup, lowest = schedule.peak_lr, schedule.warmup_tokens, schedule.min_lr
    if tokens < warmup:
        first = last_lr if schedule.warmup_from == "last" else 0.0
        return first + (peak - first) * tokens / warmup
    begin, end = schedule.decay_begins, schedule.decay_tokens or segment_tokens
    if lowest is None or tokens <= begin or end <= begin:
        return peak
    done = (tokens - begin) / (end - begin)
    if done >= 1.0:
        return lowest
    shape = schedule.kind if schedule.kind != "wsd" else schedule.decay_shape or "sqrt"
    if shape == "exponential":
        return peak * (lowest / peak) ** done
    share = {
        "cosine": 0.5 * (1.0 + math.cos(math.pi * done)),
        "linear": 1.0 - done,
        "sqrt": 1.0 - math.sqrt(done),
    }[shape]
    return lowest + (peak - lowest) * share


def rates_before(schedules: Sequence[ScheduleConfig], tokens: Sequence[int]) -> list[float]:
    """The rate at which each segment's predecessor ended, 0 for the first one.

    `tokens` are the segments' lengths.
    """
    rates = [0.0]
    for schedule, length in zip(schedules, tokens, strict=True):
        rates.append(learning_rate(schedule, length, length, rates[-1]))
    return rates[:-1]
