"""Who is told how a run goes: a live view, lines, and mirrors of its journals elsewhere.

The journals themselves are always written; all here is beside them, and off unless it is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pydantic import Field, field_validator

from skywright.config import Config
from skywright.engine.progress import Progress
from skywright.model.generate import SamplingConfig

PROMPTS = ["中国的首都是", "春天来了，", "The capital of France is", "Once upon a time"]


class MonitorConfig(Config):
    """Prompts, mirrors of the journals, and what utilisation is measured against.

    Nothing here changes what is trained, so it is no part of what names a run.
    """

    prompts: list[str] = Field(
        default=PROMPTS, description="texts that the model goes on from at each checkpoint"
    )
    continuation_tokens: int = Field(default=32, ge=1, description="of each; at most as many")
    continuation_temperature: float = Field(
        default=0.0, ge=0, description="0: the likeliest token each time; else drawn, by one seed"
    )

    tensorboard: bool = Field(default=False, description="event files in the run's tensorboard/")
    wandb: str | None = Field(default=None, description="project of Weights & Biases")
    trackio: str | None = Field(default=None, description="project of trackio")
    peak_flops: float | None = Field(
        default=None, gt=0, description="the machine's FLOP/s for MFU; None: measured at the start"
    )

    @field_validator("prompts")
    @classmethod
    def _are_text(cls, prompts: list[str]) -> list[str]:
        for prompt in prompts:
            if any("\ud800" <= char <= "\udfff" for char in prompt):
                raise ValueError(f"{prompt!r} holds half of a surrogate pair; repair it")
        return prompts

    @property
    def sampling(self) -> SamplingConfig:
        """How continuations are made."""
        return SamplingConfig(
            tokens=self.continuation_tokens, temperature=self.continuation_temperature
        )


@dataclass(frozen=True)
class About:
    """What a watcher is told when a run begins or goes on."""

    out: Path
    steps: int
    tokens: int
    done_step: int
    parameters: int
    precision: str
    threads: int
    flops_per_token: Mapping[str, float]  # by segment
    peak_flops: float
    peak_how: str


@runtime_checkable
class Watcher(Protocol):
    """Whoever wants to be told. Steps come in order; after a rollback some come again."""

    def begin(self, about: About) -> None:
        """Training begins, or goes on after `about.done_step`."""

    def step(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl, with `mfu` (0 to 1, None for a skipped step) added."""

    def validation(self, line: Mapping[str, Any]) -> None:
        """A line of validation.jsonl."""

    def continuations(self, line: Mapping[str, Any]) -> None:
        """A line of continuations.jsonl."""

    def end(self) -> None:
        """Training is over, or was stopped."""


class Watchers:
    """All watchers of a run as one."""

    def __init__(self, watching: Sequence[Watcher], about: Callable[[], About]) -> None:
        self._watching = list(watching)
        # Asked for only if someone listens: it measures the machine's peak.
        self._about = about() if watching else None
        for watcher in self._watching:
            assert self._about is not None
            watcher.begin(self._about)

    def step(self, line: Mapping[str, Any]) -> None:
        """Tell a line of metrics.jsonl."""
        if self._about is None:
            return
        speed = line["tokens_per_s"]
        operations = self._about.flops_per_token[line["segment"]]
        mfu = None if speed is None else speed * operations / self._about.peak_flops
        for watcher in self._watching:
            watcher.step({**line, "mfu": mfu})

    def validation(self, line: Mapping[str, Any]) -> None:
        """Tell a line of validation.jsonl."""
        for watcher in self._watching:
            watcher.validation(line)

    def continuations(self, line: Mapping[str, Any]) -> None:
        """Tell a line of continuations.jsonl."""
        for watcher in self._watching:
            watcher.continuations(line)

    def end(self) -> None:
        """Tell that it is over."""
        for watcher in self._watching:
            watcher.end()


@contextmanager
def watchers(
    config: MonitorConfig, progress: Progress, about: Callable[[], About], out: Path
) -> Iterator[Watchers]:
    """The mirrors that are asked for, and `progress` if it is a `Watcher`, for the block's length.

    Raises UserError if a mirror's package is not installed.
    """
    from skywright.train.mirrors import mirrors

    watching: list[Watcher] = list(mirrors(config, out))
    if isinstance(progress, Watcher):
        watching.append(progress)
    told = Watchers(watching, about)
    try:
        yield told
    finally:
        told.end()
