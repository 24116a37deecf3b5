"""What a run trains on, and whether it and its layout fit together."""

from __future__ import annotations

from pydantic import Field, model_validator

from skywright.config import Config, TokenCount
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig


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

    def micro_batch(self, layout: ParallelConfig) -> int:
        """Tokens of one forward pass of a data rank."""
        return self.micro_batch_tokens or self.global_batch_tokens // layout.data

    def micro_batches(self, layout: ParallelConfig) -> int:
        """Forward passes of a data rank in one optimizer step (its accumulation)."""
        return self.global_batch_tokens // (self.micro_batch(layout) * layout.data)


def check(model: ModelConfig, layout: ParallelConfig, workload: Workload) -> None:
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
