"""How a run is spread over processes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from skywright.config import Config
from skywright.errors import UserError
from skywright.model.config import ModelConfig


class ParallelConfig(Config):
    """Processes by kind of parallelism; their number is data x tensor x pipeline.

    The words are those of the planner's layouts (`skywright estimate`), and mean the same.

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
    schedule: Literal["1f1b", "gpipe"] = "1f1b"

    @model_validator(mode="after")
    def _fits(self) -> ParallelConfig:
        if self.data % self.shards:
            raise ValueError(f"shard {self.shards} does not divide the {self.data} data ranks")
        if self.zero == 0 and self.shard not in (None, 1):
            raise ValueError(f"shard {self.shard} with zero 0, which splits nothing; leave it out")
        if self.pipeline > 1 and self.zero > 1:
            raise ValueError(
                f"zero {self.zero} with pipeline {self.pipeline}: a stage keeps its weights and "
                "gradients whole from its first micro-batch to its last; use zero 0 or 1"
            )
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

    def degrees(self) -> dict[str, int]:
        """Over how many processes each kind of parallelism goes, by name."""
        return {"data": self.data, "tensor": self.tensor, "pipeline": self.pipeline}


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
