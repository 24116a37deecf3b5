"""A model's sizes as the formulas of memory and time need them."""

from __future__ import annotations

from dataclasses import dataclass

from skywright.model.config import ModelConfig
from skywright.model.flops import parameters


@dataclass(frozen=True)
class Shape:
    """Sizes of a model, whether its feed-forward block has a gate or not."""

    hidden: int
    width: int  # heads x head size
    kv_width: int
    ffn: int
    ffn_matrices: int  # 3 with a gate (SwiGLU), 2 without (GELU)
    layers: int
    heads: int
    vocabulary: int
    layer_parameters: int
    body_rest: int  # parameters of the body outside its layers: the last norm, learned positions
    table: int  # vocabulary x hidden
    tied: bool

    @staticmethod
    def of(model: ModelConfig) -> Shape:
        """Read from the configuration and from its count of parameters."""
        width, kv_width = (n * model.head_size for n in (model.heads, model.key_value_heads))
        body = parameters(model)["body"]
        longer = model.model_copy(update={"layers": model.layers + 1})
        each = parameters(longer)["body"] - body
        attention = 2 * model.hidden * (width + kv_width)
        # A layer is attention, two or three matrices of hidden x ffn, and norms that are far
        # smaller than one of them: so the count tells which kind of layer it is.
        matrices = round((each - attention) / (model.hidden * model.ffn_hidden))
        return Shape(
            hidden=model.hidden,
            width=width,
            kv_width=kv_width,
            ffn=model.ffn_hidden,
            ffn_matrices=matrices,
            layers=model.layers,
            heads=model.heads,
            vocabulary=model.vocab_size,
            layer_parameters=each,
            body_rest=body - each * model.layers,
            table=model.vocab_size * model.hidden,
            tied=model.tie_embeddings,
        )
