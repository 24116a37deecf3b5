"""Settings of the leak step."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from skywright.config import Config
from skywright.evaluate.config import BATCH_TOKENS


class LeakConfig(Config):
    """Which sets the leak test compares, and how many items it takes."""

    test: str = "gsm8k_test"
    seen: str | None = "gsm8k_seen"
    unseen: str | None = "gsm8k_unseen"
    items: int | None = Field(
        default=None, ge=2, description="test items scored at most; None: all"
    )
    reference_items: int | None = Field(default=None, ge=2, description="look-alikes made at most")
    overlap_reference: Path | None = Field(
        default=None,
        description="another reference set, JSONL or JSONL.gz with a 'text' field, unpaired",
    )
    seed: int = 0
    checkpoints: Literal["all"] | list[str] = Field(
        default="all", description="'first', 'last', 'segment:NAME' (its last), or names"
    )
    batch_tokens: int = Field(default=BATCH_TOKENS, ge=1)
    device: str = "cpu"
    dtype: str = "float32"
