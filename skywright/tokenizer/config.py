"""What vocabulary to make: trained from nothing, or grown from a model that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from skywright.config import ByteSize, Config

WEIGHTS = {"en": 1.0, "zh-Hans": 1.0, "zh-Hant": 0.2, "code": 0.4}
"""Shares of the sample by language, for the laptop recipe's mixture."""


class ExtendConfig(Config):
    """A SentencePiece BPE model to begin with, and what is added to it."""

    model: Path
    """The `.model` file, such as LLaMA's `tokenizer.model`."""
    characters: Path | None = None
    """A list, one entry a line, of which the lines of one character are taken (BERT's vocabulary
    is one). None: no characters are added."""
    words: Path | None = None
    """Words, one a line, each with its frequency behind it or in order of it; `.gz` is read too.
    None: words are counted on the corpus."""
    max_word_chars: int = Field(default=4, ge=2, le=16)
    """Longest word that is counted. Measured: see docs/tokenizer.md."""
    min_count: int = Field(default=5, ge=1)
    """Fewest times a counted word must stand in the sample."""
    unreachable: Literal["bridge", "drop"] = "bridge"
    """What happens to a word that the merges cannot reach: the pieces between are added, or it is
    left out. Measured: see docs/tokenizer.md."""

    def files(self) -> list[Path]:
        """The files that are read."""
        return [path for path in (self.model, self.characters, self.words) if path is not None]


class TokenizerConfig(Config):
    """What vocabulary to make, on how much of which text."""

    vocab_size: int = Field(default=8192, ge=300, le=2**20)
    """Ids in all, the reserved ones among them."""
    sample_bytes: ByteSize = Field(default=8_000_000, ge=1000)
    by: Literal["lang", "source"] = "lang"
    """What `weights` name: languages, or sources of the corpus."""
    weights: dict[str, float] = WEIGHTS
    """Shares of the sample; a language or source that is not named is not read."""
    character_coverage: float = Field(default=0.998, gt=0.9, le=1.0)
    """Share of the sample's characters that get a piece of their own; the rest are spelt in
    bytes. Measured for 8,192 pieces on the example crawl: see docs/tokenizer.md."""
    seed: int = 1
    reserved: int = Field(default=0, ge=0, le=1024)
    """Ids kept for symbols that no text makes: `<|reserved_0|>` and so on, the last ids."""
    extend: ExtendConfig | None = None
    """None: train from nothing. Else grow this model to `vocab_size`."""

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError("weights must not be negative, and one must be above zero")
        if any(0 < weight < 1e-6 for weight in weights.values()):
            raise ValueError("a weight is 0 or at least 1e-6")
        return weights

    @model_validator(mode="after")
    def _weights_are_of_sources(self) -> TokenizerConfig:
        if self.by == "source" and "weights" not in self.model_fields_set:
            raise ValueError("by: source needs weights that name sources; add them")
        return self
