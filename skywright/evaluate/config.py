"""Settings of the evaluate step."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from skywright.config import Config

BATCH_TOKENS = 1024
"""Padded tokens that go through a model at once: time and memory depend on it, the numbers do not.
Measured on one core, 6M parameters, windows of 256: 4,650 tokens/s; 4,320 with 4,096, 3,500 with
16,384. A GPU wants more."""

MAX_CHARS = 4096
"""Cut of a document in our own protocol, where none is named."""


class EvaluateConfig(Config):
    """What the evaluate step scores, and how."""

    protocol: str = Field(default="skywright", description="a name of protocols.PROTOCOLS")
    max_chars: int | None = Field(
        default=MAX_CHARS, ge=1, description="cut of a document in our own protocol; None: whole"
    )
    window_tokens: int | None = Field(
        default=None, ge=6, description="longest window, instead of the protocol's own"
    )
    checkpoints: Literal["all"] | list[str] = Field(
        default="all", description="'first', 'last', 'segment:NAME' (its last), or names"
    )
    tokens: bool = Field(default=False, description="keep the loss of every token in the store")
    batch_tokens: int = Field(default=BATCH_TOKENS, ge=1)
    device: str = "cpu"
    dtype: str = "float32"
