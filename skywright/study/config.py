"""Settings of the branch study."""

from __future__ import annotations

from pydantic import Field

from skywright.config import Config, TokenCount
from skywright.evaluate.config import BATCH_TOKENS


class StudyConfig(Config):
    """A branch: in-domain data alone, from an early checkpoint, and what it gains and harms."""

    branch_from: str = Field(
        default="first", description="'first', 'last', 'segment:NAME' (its last), or a name"
    )
    tokens: TokenCount = Field(ge=1, description="length of the branch")
    source: str = Field(description="the source it trains on")
    peak_lr: float = Field(gt=0)
    seed: int = 0
    benchmark_items: int = Field(default=400, ge=4)
    max_chars: int | None = Field(default=4096, ge=1, description="cut of a document; None: whole")
    batch_tokens: int = Field(default=BATCH_TOKENS, ge=1)
    device: str = "cpu"
    dtype: str = "float32"
