"""How a training run is spread over devices, what it trains on, and whether they fit together."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from skywright.config import Config, TokenCount
from skywright.errors import UserError
from skywright.model.config import ModelConfig


class LayoutConfig(Config):
    """Ranks by kind of parallelism; devices = data x tensor x pipeline.

    Ranks are numbered as Megatron does it (Narayanan et al. 2021, section 3): tensor innermost,
    then data, pipeline outermost, so that what talks most sits in one node.

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
    def _fits(self) -> LayoutConfig:
        if self.data % self.shards:
            raise ValueError(f"shard {self.shards} does not divide the {self.data} data ranks")
        return self

    @property
    def devices(self) -> int:
        """Number of ranks."""
        return self.data * self.tensor * self.pipeline

    @property
    def shards(self) -> int:
        """Data ranks that hold one copy of what `zero` splits."""
        return self.data if self.shard is None else self.shard

    @property
    def split_norms(self) -> int:
        """Into how many parts norms and residuals are split along the sequence."""
        return 1 if self.sequence_parallel is False else self.tensor

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


class Workload(Config):
    """What a run trains on; the names are those of a recipe's `train` section."""

    sequence_tokens: TokenCount = Field(ge=1)
    global_batch_tokens: TokenCount = Field(ge=1, description="tokens of one optimizer step")
    micro_batch_tokens: TokenCount | None = Field(
        default=None, ge=1, description="tokens of a rank's forward pass; None: its share at once"
    )
    tokens: TokenCount = Field(ge=1, description="tokens of the whole run")

    @model_validator(mode="after")
    def _fits(self) -> Workload:
        for name in ("global_batch_tokens", "micro_batch_tokens"):
            tokens = getattr(self, name)
            if tokens is not None and tokens % self.sequence_tokens:
                raise ValueError(
                    f"{name} {tokens} is not a multiple of sequence_tokens {self.sequence_tokens}"
                )
        return self

    def micro_batch(self, layout: LayoutConfig) -> int:
        """Tokens of one forward pass of a data rank."""
        return self.micro_batch_tokens or self.global_batch_tokens // layout.data

    def micro_batches(self, layout: LayoutConfig) -> int:
        """Forward passes of a data rank in one optimizer step (its accumulation)."""
        return self.global_batch_tokens // (self.micro_batch(layout) * layout.data)


_PARTS: dict[str, tuple[str, bool]] = {
    # word: (field, whether a number follows)
    "dp": ("data", True), "tp": ("tensor", True), "pp": ("pipeline", True),
    "zero": ("zero", True), "fsdp": ("data", True), "shard": ("shard", True),
    "nosp": ("sequence_parallel", False), "ckpt": ("checkpointing", False),
    "gpipe": ("schedule", False), "1f1b": ("schedule", False),
}  # fmt: skip
_FLAGS = {"nosp": False, "ckpt": "full", "gpipe": "gpipe", "1f1b": "1f1b"}


def parse_layout(text: str, devices: int | None = None) -> LayoutConfig:
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
        layout = LayoutConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"layout {text!r}: {first_problem(error)}") from None
    if devices is not None and layout.devices != devices:
        raise UserError(
            f"layout {text!r} makes {layout.devices} ranks, but there are {devices} devices; "
            "change the one or the other"
        )
    return layout


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as `field: what` in one line."""
    found = error.errors()[0]
    where = ".".join(str(key) for key in found["loc"])
    message = found["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (got {found['input']!r})" if where else message


def check(model: ModelConfig, layout: LayoutConfig, workload: Workload) -> None:
    """Raise UserError, naming the numbers, if the run cannot be laid out like this."""
    for what, count in (
        ("heads", model.heads),
        ("kv_heads", model.key_value_heads),
        ("ffn_hidden", model.ffn_hidden),
        ("vocab_size", model.vocab_size),
    ):
        if count % layout.tensor:
            raise UserError(
                f"layout {layout.name}: {layout.tensor} tensor ranks do not divide the model's "
                f"{what}, {count}; use another tp"
            )
    if layout.pipeline > model.layers:
        raise UserError(
            f"layout {layout.name}: {layout.pipeline} stages for {model.layers} layers; use fewer"
        )
    if workload.sequence_tokens > model.context_tokens:
        raise UserError(
            f"sequence_tokens {workload.sequence_tokens} is more than the model's context_tokens, "
            f"{model.context_tokens}; lower the one or raise the other"
        )
    batch, sequence = workload.global_batch_tokens, workload.sequence_tokens
    unit = workload.micro_batch_tokens or sequence
    if batch % (unit * layout.data):
        raise UserError(
            f"layout {layout.name}: a batch of {batch:,} tokens does not divide into micro-batches "
            f"of {unit:,} on {layout.data} data ranks; change the batch, the micro-batch or dp"
        )


def layers_of_stages(layers: int, layout: LayoutConfig) -> list[int]:
    """Layers of each pipeline stage; where they do not divide, the first stages have one more."""
    each, more = divmod(layers, layout.pipeline)
    return [each + (stage < more) for stage in range(layout.pipeline)]
