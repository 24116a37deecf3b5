"""What a recipe says about copies inside documents: repeated lines, repeated substrings."""

from __future__ import annotations

from pydantic import Field

from skywright.config import Config


class LinesConfig(Config):
    """Lines of fewer than `min_letters` letters and digits are let be. Null switches a rule off.

    Of a line with more than `max_copies` copies the best stays; of one on more than `max_hosts`
    hosts none does.
    """

    min_letters: int = Field(default=10, ge=1)
    max_copies: int | None = Field(default=1, ge=1)
    max_hosts: int | None = Field(default=None, ge=1)


class SubstringsConfig(Config):
    """Runs of at least `min_tokens` mixed tokens that stand elsewhere too; 50 is RefinedWeb's
    (arXiv 2306.01116, section 3.3), of other tokens.
    """

    min_tokens: int = Field(default=50, ge=8)
