"""The shape of a model."""

from __future__ import annotations

from pydantic import Field, model_validator

from skywright.config import Config, TokenCount


class ModelConfig(Config):
    """Shape of a decoder in LLaMA's form (Touvron et al. 2023, section 2.2).

    RMSNorm before each block, rotary positions, SwiGLU, no biases. `rope_theta` 10,000 is
    RoFormer's (Su et al. 2021, section 3.2.2); `norm_eps` 1e-5 is LLaMA 2's released setting.
    """

    vocab_size: int = Field(ge=2)
    hidden: int = Field(ge=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    kv_heads: int | None = Field(
        default=None, ge=1, description="heads of keys and values; None: as heads"
    )
    head_dim: int | None = Field(default=None, ge=2, description="None: hidden / heads")
    ffn_hidden: int = Field(ge=1, description="inner width of SwiGLU")
    context_tokens: TokenCount = Field(ge=1)
    rope_theta: float = Field(default=10_000.0, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    tie_embeddings: bool = False

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(
                f"hidden {self.hidden} does not divide into {self.heads} heads; set head_dim"
            )
        if self.head_size % 2:
            raise ValueError(f"head_dim {self.head_size} must be even: rotary pairs need it")
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"heads {self.heads} must be a multiple of kv_heads {self.key_value_heads}"
            )
        return self

    def resolved(self) -> ModelConfig:
        """The same shape with nothing left to defaults, so that two can be compared."""
        explicit = {"kv_heads": self.key_value_heads, "head_dim": self.head_size}
        return self.model_copy(update=explicit)

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.head_dim if self.head_dim is not None else self.hidden // self.heads

    @property
    def key_value_heads(self) -> int:
        """Number of heads of keys and values (fewer than `heads` in grouped-query attention)."""
        return self.kv_heads if self.kv_heads is not None else self.heads
