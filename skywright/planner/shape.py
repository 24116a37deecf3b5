"""A model's sizes as the formulas of memory and time need them."""

from __future__ import annotations

from dataclasses import dataclass

from skywright.model.config import ModelConfig
from skywright.model.flops import parameters


@dataclass(frozen=True)
class Shape:
    """Sizes of a model of either architecture."""

    hidden: int
    width: int  # heads x head size
    kv_width: int
    ffn: int
    ffn_matrices: int  # 3 with a gate (SwiGLU), 2 without (GELU)
    layers: int
    heads: int
    vocabulary: int
    layer_parameters: int
    body_rest: int  # parameters of the body outside its layers: the last norm
    positions: int  # parameters of learned positions, 0 with rotary ones
    table: int  # vocabulary x hidden
    tied: bool
    dropout: bool

    @staticmethod
    def of(model: ModelConfig) -> Shape:
        """Read from the configuration and from its count of parameters."""
        width, kv_width = (n * model.head_size for n in (model.heads, model.key_value_heads))
        count = parameters(model)
        longer = model.model_copy(update={"layers": model.layers + 1})
        each = parameters(longer)["body"] - count["body"]
        return Shape(
            hidden=model.hidden,
            width=width,
            kv_width=kv_width,
            ffn=model.ffn_hidden,
            ffn_matrices=2 if model.architecture == "gpt" else 3,
            layers=model.layers,
            heads=model.heads,
            vocabulary=model.vocab_size,
            layer_parameters=each,
            body_rest=count["body"] - each * model.layers,
            positions=count["positions"],
            table=model.vocab_size * model.hidden,
            tied=model.tie_embeddings,
            dropout=model.dropout > 0,
        )
