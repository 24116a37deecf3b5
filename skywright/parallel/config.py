"""How a run is spread over processes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from skywright.config import Config
from skywright.errors import UserError
from skywright.model.config import ModelConfig


class ParallelConfig(Config):
    """Processes by kind of parallelism; their number is data x tensor x pipeline.

    The trainer runs it and the planner (`skywright estimate`) foretells it. Ranks are numbered as
    Megatron does it (Narayanan et al. 2021, section 3): tensor innermost, then data, pipeline
    outermost, so that what talks most sits in one node.

    zero  what the data ranks split (Rajbhandari et al. 2020): 0 nothing, 1 optimizer state and
          masters, 2 gradients too, 3 weights too (FSDP)
    shard with zero, the number of data ranks that hold one copy between them; fewer than `data` is
          HSDP. None: all of them
    """

    data: int = Field(default=1, ge=1)
    tensor: int = Field(default=1, ge=1)
    pipeline: int = Field(default=1, ge=1)
    zero: Literal[0, 1, 2, 3] = 1
    shard: int | None = Field(default=None, ge=1)
    sequence_parallel: bool | None = Field(
        default=None, description="norms and residuals split by tensor ranks; None: yes"
    )
    checkpointing: Literal["none", "full"] = Field(
        default="none", description="full: a layer's input is kept, the rest computed again"
    )
    schedule: Literal["1f1b", "gpipe"] = "1f1b"

    @model_validator(mode="after")
    def _fits(self) -> ParallelConfig:
        if self.data % self.shards:
            raise ValueError(f"shard {self.shards} does not divide the {self.data} data ranks")
        if self.zero == 0 and self.shard not in (None, 1):
            raise ValueError(f"shard {self.shard} with zero 0, which splits nothing; leave it out")
        return self

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.data * self.tensor * self.pipeline

    @property
    def shards(self) -> int:
        """Data ranks that hold one copy of what `zero` splits."""
        if self.zero == 0:
            return 1
        return self.data if self.shard is None else self.shard

    @property
    def splits_sequence(self) -> bool:
        """Whether norms and residuals are split along the sequence."""
        return self.tensor > 1 and self.sequence_parallel is not False

    @property
    def split_norms(self) -> int:
        """Into how many parts norms and residuals are split along the sequence."""
        return self.tensor if self.splits_sequence else 1

    @property
    def name(self) -> str:
        """The text that `parse_layout` reads back: dp256+pp2."""
        parts = [f"dp{self.data}"]
        parts += [f"tp{self.tensor}"] if self.tensor > 1 else []
        parts += [f"pp{self.pipeline}"] if self.pipeline > 1 else []
        parts += [f"zero{self.zero}"] if self.zero != 1 else []
        parts += [f"shard{self.shard}"] if self.shard is not None else []
        parts += ["nosp"] if self.sequence_parallel is False else []
        parts += ["ckpt"] if self.checkpointing == "full" else []
        parts += [self.schedule] if self.schedule != "1f1b" else []
        return "+".join(parts)

    def degrees(self) -> dict[str, int]:
        """Over how many processes each kind of parallelism goes, by name."""
        return {"data": self.data, "tensor": self.tensor, "pipeline": self.pipeline}


def layers_of_stages(layers: int, pipeline: int) -> list[range]:
    """The layers of each stage; where they do not divide, the first stages have one more."""
    each, more = divmod(layers, pipeline)
    starts = [stage * each + min(stage, more) for stage in range(pipeline + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


_PARTS: dict[str, tuple[str, bool]] = {
    # word: (field, whether a number follows)
    "dp": ("data", True), "tp": ("tensor", True), "pp": ("pipeline", True),
    "zero": ("zero", True), "fsdp": ("data", True), "shard": ("shard", True),
    "nosp": ("sequence_parallel", False), "ckpt": ("checkpointing", False),
    "gpipe": ("schedule", False), "1f1b": ("schedule", False),
}  # fmt: skip
_FLAGS = {"nosp": False, "ckpt": "full", "gpipe": "gpipe", "1f1b": "1f1b"}


def parse_layout(text: str, devices: int | None = None) -> ParallelConfig:
    """A layout from text such as `dp256+pp2`, `dp128+tp2+pp2+zero2` or `fsdp64+shard8+ckpt`.

    Parts: dpN tpN ppN zeroN, fsdpN (dpN+zero3), shardN (ranks that hold one copy: HSDP), nosp,
    ckpt, gpipe. Without dpN the data ranks are what `devices` leaves. Raises UserError for an
    unknown or repeated part, and if the product is not `devices`.
    """
    values: dict[str, Any] = {}
    for part in text.lower().split("+"):
        match = re.fullmatch(r"(1f1b|[a-z]+)([0-9]*)", part)
        word, number = match.groups() if match else (part, "")
        field, counted = _PARTS.get(word, ("", False))
        if not field or counted != bool(number):
            raise UserError(
                f"layout {text!r}: {part!r} is not one of dpN, tpN, ppN, zeroN, fsdpN, shardN, "
                "nosp, ckpt, gpipe; write it like dp256+pp2"
            )
        new = {field: int(number) if counted else _FLAGS[word]}
        new |= {"zero": 3} if word == "fsdp" else {}
        if new.keys() & values.keys():
            raise UserError(f"layout {text!r}: {part!r} says again what another part said")
        values |= new
    if devices is not None and "data" not in values:
        inner = values.get("tensor", 1) * values.get("pipeline", 1)
        if inner < 1 or devices % inner:
            raise UserError(
                f"layout {text!r}: {devices} devices do not divide by {inner} tensor and pipeline "
                "ranks; change one of the two"
            )
        values["data"] = devices // inner
    try:
        layout = ParallelConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"layout {text!r}: {first_problem(error)}") from None
    if devices is not None and layout.processes != devices:
        raise UserError(
            f"layout {text!r} makes {layout.processes} ranks, but there are {devices} devices; "
            "change the one or the other"
        )
    return layout


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as `field: what` in one line."""
    found = error.errors()[0]
    where = ".".join(str(key) for key in found["loc"])
    message = found["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (got {found['input']!r})" if where else message


def check(config: ParallelConfig, model: ModelConfig, processes: int) -> None:
    """Raise UserError, naming the numbers, if this model cannot be spread like this."""
    if config.processes != processes:
        product = " x ".join(f"{name} {degree}" for name, degree in config.degrees().items())
        raise UserError(
            f"parallel: {product} makes {config.processes} processes, but {processes} were "
            "started; change the one or the other"
        )
    counts = {
        "heads": model.heads,
        "kv_heads": model.key_value_heads,
        "ffn_hidden": model.ffn_hidden,
        "vocab_size": model.vocab_size,
    }
    if model.architecture == "gpt":
        counts["context_tokens"] = model.context_tokens  # rows of its table of positions
    for name, count in counts.items():
        if count % config.tensor:
            raise UserError(
                f"parallel.tensor: {config.tensor} does not divide the model's {name}, {count}; "
                "use a divisor of it"
            )
    if config.pipeline > model.layers:
        raise UserError(
            f"parallel.pipeline: {config.pipeline} stages for {model.layers} layers; use fewer"
        )
    if config.pipeline > 1 and config.zero > 1:
        raise UserError(
            f"parallel.zero: {config.zero} with pipeline {config.pipeline}: a stage keeps its "
            "weights and gradients whole from its first micro-batch to its last; use zero 0 or 1"
        )
    if config.pipeline > 1 and model.tie_embeddings:
        raise UserError(
            "parallel.pipeline: the model's tied embedding would stand on the first stage and on "
            "the last, and drift apart; set tie_embeddings to false, or pipeline to 1"
        )


def check_step(
    config: ParallelConfig, rows: int, sequence_tokens: int, micro_batch_rows: int
) -> None:
    """Raise UserError if a data rank's `rows` of a step cannot be run in such micro-batches."""
    if config.splits_sequence and sequence_tokens % config.tensor:
        raise UserError(
            f"sequence_tokens {sequence_tokens} does not divide by parallel.tensor "
            f"{config.tensor}; change one, or set parallel.sequence_parallel to false"
        )
    if config.pipeline == 1:
        return
    if rows % micro_batch_rows:
        raise UserError(
            f"a data rank's {rows} samples of a step do not divide into micro-batches of "
            f"{micro_batch_rows}, which the stages of a pipeline need; change micro_batch_tokens"
        )
    if config.schedule == "1f1b" and rows // micro_batch_rows < config.pipeline:
        raise UserError(
            f"{rows // micro_batch_rows} micro-batches a step cannot fill parallel.pipeline "
            f"{config.pipeline}; lower micro_batch_tokens, or use schedule gpipe"
        )
