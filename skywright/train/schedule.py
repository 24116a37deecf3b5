"""Learning rate as a function of the tokens trained in a segment."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from skywright.config import Config, TokenCount


class ScheduleConfig(Config):
    """Warm-up, then a cosine to `min_lr` (and constant from there), or constant `peak_lr`."""

    kind: Literal["cosine", "constant"]
    peak_lr: float = Field(gt=0)
    min_lr: float | None = Field(default=None, ge=0, description="cosine only: where it ends")
    warmup_tokens: TokenCount = Field(default=0, ge=0, description="linear rise from 0")
    decay_tokens: TokenCount | None = Field(
        default=None, gt=0, description="cosine only: where min_lr is reached, warm-up included; "
        "None: at the segment's end"
    )  # fmt: skip

    @model_validator(mode="after")
    def _complete(self) -> ScheduleConfig:
        if self.kind == "cosine":
            if self.min_lr is None:
                raise ValueError("a cosine schedule needs min_lr")
            if self.min_lr > self.peak_lr:
                raise ValueError(f"min_lr {self.min_lr} is above peak_lr {self.peak_lr}")
            if self.decay_tokens is not None and self.decay_tokens <= self.warmup_tokens:
                raise ValueError("decay_tokens must be more than warmup_tokens")
        elif self.min_lr is not None or self.decay_tokens is not None:
            raise ValueError("a constant schedule takes neither min_lr nor decay_tokens")
        return self


def learning_rate(schedule: ScheduleConfig, tokens: int, segment_tokens: int) -> float:
    """Learning rate of the step that brings the segment from fewer tokens to `tokens`.

    The first step thus already has a rate above zero, and the last one has exactly `min_lr`.
    The cosine is min + (peak - min) (1 + cos(pi x)) / 2 (Loshchilov and Hutter 2017, equation 5).
    """
    peak, warmup = schedule.peak_lr, schedule.warmup_tokens
    if tokens < warmup:
        return peak * tokens / warmup
    if schedule.kind == "constant" or schedule.min_lr is None:
        return peak
    end = schedule.decay_tokens or segment_tokens
    if end <= warmup:
        return peak
    done = min(1.0, (tokens - warmup) / (end - warmup))
    return schedule.min_lr + (peak - schedule.min_lr) * 0.5 * (1.0 + math.cos(math.pi * done))
