"""What a training run is: segments with their mixtures and schedules, batch, precision, periods."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from skywright.config import Config, Duration, TokenCount
from skywright.model.hf import Dtype
from skywright.parallel.world import DeviceName
from skywright.tokens.infilling import InfillingConfig
from skywright.tokens.mixture import SegmentMixture
from skywright.tokens.shards import PackingName
from skywright.tokens.supply import EpochConfig
from skywright.train.guard import GuardConfig
from skywright.train.optimizer import OptimizerConfig
from skywright.train.precision import Precision
from skywright.train.schedule import ScheduleConfig
from skywright.train.watch import MonitorConfig


class SegmentConfig(SegmentMixture):
    """A span of training: its mixture of sources and its learning rate."""

    schedule: ScheduleConfig


class TrainConfig(Config):
    """Settings of a run. Periods count tokens and are met at the first step that reaches them."""

    seed: int = 0
    sequence_tokens: TokenCount = Field(ge=1)
    global_batch_tokens: TokenCount = Field(ge=1, description="tokens of one optimizer step")
    micro_batch_tokens: TokenCount | None = Field(
        default=None,
        ge=1,
        description="tokens of one forward pass of a process; None: its share of the batch at once",
    )
    segments: list[SegmentConfig] = Field(min_length=1)
    epochs: EpochConfig = EpochConfig()
    packing: PackingName = Field(
        default="concatenate",
        description="windows of the stream wherever documents end, or whole documents and padding",
    )
    within_documents: bool = Field(
        default=False, description="attention stays inside documents, positions restart in each"
    )
    infilling: dict[str, InfillingConfig] = Field(
        default={},
        description="sources whose documents are partly rearranged to fill in the middle",
    )
    optimizer: OptimizerConfig = OptimizerConfig()
    guard: GuardConfig = GuardConfig()
    precision: Precision = "auto"
    device: DeviceName = Field(
        default="auto", exclude=True, description="auto: a GPU for each process where there is one"
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="of each process; None: its share of the machine's physical cores",
    )
    compile: Literal["auto", "off", "layers"] = Field(
        default="auto",
        description="auto: layers are compiled if a measurement before the first step says that "
        "it pays; the choice is kept with the run",
    )
    validate_every: TokenCount | None = Field(
        default=None, gt=0, description="None: at segment ends only"
    )
    validate_max_chars: int | None = Field(
        default=4096, ge=1, description="cut of a document in validation"
    )
    checkpoint_every: TokenCount | None = Field(
        default=None, gt=0, description="None: at segment ends only"
    )
    export_every: TokenCount | None = Field(default=None, gt=0, description="Hugging Face folders")
    export_at_segment_ends: bool = True
    export_dtype: Dtype = "fp32"
    keep: int = Field(default=2, ge=1, description="newest checkpoints kept, besides segment ends")
    keep_every: TokenCount | None = Field(
        default=None, gt=0, description="a checkpoint every so many tokens is never removed"
    )
    # What follows changes nothing that is made, so it is no part of what names a run.
    checkpoint_async: bool = Field(
        default=False,
        exclude=True,
        description="save a copy in a thread while training goes on; takes the copy's memory",
    )
    hang_after: Duration | None = Field(
        default=None,
        gt=0,
        exclude=True,
        description="end the process after so long without a step; None: never",
    )
    monitor: MonitorConfig = Field(default=MonitorConfig(), exclude=True)

    @model_validator(mode="after")
    def _fits(self) -> TrainConfig:
        for name in ("global_batch_tokens", "micro_batch_tokens"):
            tokens = getattr(self, name)
            for length in self.sequence_lengths:
                if tokens is not None and tokens % length:
                    raise ValueError(f"{name} {tokens} is not a multiple of the length {length}")
        if (self.micro_batch_tokens or 0) > self.global_batch_tokens:
            raise ValueError("micro_batch_tokens is larger than global_batch_tokens")
        names = [segment.name for segment in self.segments]
        if len(set(names)) != len(names):
            raise ValueError(f"two segments share a name: {', '.join(names)}")
        if self.segments[0].schedule.warmup_from == "last":
            raise ValueError(
                f"segment {names[0]!r} warms up from the last rate, but it is the first; leave "
                "warmup_from out"
            )
        for segment in self.segments:
            if segment.schedule.kind == "wsd" and segment.tokens <= segment.schedule.decay_begins:
                raise ValueError(
                    f"segment {segment.name!r} ends at {segment.tokens} tokens, before its fall "
                    f"begins at {segment.schedule.decay_begins}; shorten stable_tokens"
                )
        return self

    @property
    def sequence_lengths(self) -> list[int]:
        """Every length of samples that a segment has, and the run's own."""
        own = {s.sequence_tokens for s in self.segments if s.sequence_tokens is not None}
        return sorted({self.sequence_tokens, *own})

    @property
    def longest_sequence(self) -> int:
        """Tokens of the longest sample."""
        return self.sequence_lengths[-1]
