"""The shape of a model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from skywright.config import Config, TokenCount

ROPE_THETA = 10_000.0
"""Base of the rotary angles: RoFormer, Su et al. 2021, section 3.2.2."""


class LinearScaling(Config):
    """Every rotary angle divided by `factor` (position interpolation, Chen et al. 2023)."""

    kind: Literal["linear"]
    factor: float = Field(ge=1)


class Llama3Scaling(Config):
    """Only the slow pairs are slowed, with a smooth passage to the fast ones.

    As in Llama 3.1, whose released figures are the defaults: a pair that turns more than
    `high_freq_factor` times within `original_context_tokens` stays as it is, one that turns less
    than `low_freq_factor` times is divided by `factor`.
    """

    kind: Literal["llama3"]
    factor: float = Field(default=8.0, ge=1)
    low_freq_factor: float = Field(default=1.0, gt=0)
    high_freq_factor: float = Field(default=4.0, gt=0)
    original_context_tokens: TokenCount = Field(default=8192, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Llama3Scaling:
        if self.low_freq_factor >= self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor {self.low_freq_factor} must be below high_freq_factor "
                f"{self.high_freq_factor}"
            )
        return self


RopeScaling = Annotated[LinearScaling | Llama3Scaling, Field(discriminator="kind")]


class ModelConfig(Config):
    """Shape of a decoder, and what of its training belongs to the model.

    llama  RMSNorm before each block, rotary positions, SwiGLU, no biases (Touvron et al. 2023,
           section 2.2); `norm_eps` 1e-5 is LLaMA 2's released setting
    gpt    LayerNorm before each block, learned positions, GELU, biases (GPT-2, Radford et al.
           2019, section 2.3); `norm_eps` 1e-5 is GPT-2's released setting

    `dropout` acts on the embeddings and on what each block adds to the residual stream, not on
    the attention's probabilities: those never exist whole. `z_loss` is the weight of the squared
    log-sum-exp of the logits (PaLM, Chowdhery et al. 2022, section 5, took 1e-4).
    """

    architecture: Literal["llama", "gpt"] = "llama"
    vocab_size: int = Field(ge=2)
    hidden: int = Field(ge=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int | None = Field(
        default=None, ge=1, description="heads of keys and values; None: as heads"
    )
    head_dim: int | None = Field(default=None, ge=2, description="None: hidden / heads")
    ffn_hidden: int = Field(ge=1, description="inner width of the feed-forward block")
    context_tokens: TokenCount = Field(ge=1)
    rope_theta: float = Field(default=ROPE_THETA, gt=0)
    rope_scaling: RopeScaling | None = None
    norm_eps: float = Field(default=1e-5, gt=0)
    qk_norm: bool = Field(default=False, description="RMSNorm on each head's queries and keys")
    tie_embeddings: bool = False
    dropout: float = Field(default=0.0, ge=0, lt=1)
    z_loss: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(
                f"hidden {self.hidden} does not divide into {self.heads} heads; set head_dim"
            )
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} must be a multiple of kv_heads {self.key_value_heads}"
            )
        if self.architecture == "llama" and self.head_size % 2:
            raise ValueError(f"head_dim {self.head_size} must be even: rotary pairs need it")
        if self.architecture == "gpt":
            self._refuse_what_gpt_lacks()
        return self

    def _refuse_what_gpt_lacks(self) -> None:
        found = {
            "kv_heads": self.key_value_heads != self.heads,
            "head_dim": self.head_size * self.heads != self.hidden,
            "rope_theta": self.rope_theta != ROPE_THETA,
            "rope_scaling": self.rope_scaling is not None,
            "qk_norm": self.qk_norm,
        }
        for name in (name for name, is_set in found.items() if is_set):
            raise ValueError(f"architecture gpt has no {name}; remove it, or take llama")

    def of_the_weights(self) -> ModelConfig:
        """What two models must share for the one to take the other's weights.

        Nothing is left to defaults; what only training decides (dropout, z_loss) is cleared, and
        so is the context of a model with rotary positions, which no weight depends on.
        """
        return self.model_copy(
            update={
                "kv_heads": self.key_value_heads,
                "head_dim": self.head_size,
                "dropout": 0.0,
                "z_loss": 0.0,
                "context_tokens": self.context_tokens if self.architecture == "gpt" else 0,
            }
        )

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim if self.head_dim is not None else self.hidden // self.heads

    @property
    def key_value_heads(self) -> int:
        """Number of heads of keys and values (fewer than `heads` in grouped-query attention)."""
        return self.kv_heads if self.kv_heads is not None else self.heads
