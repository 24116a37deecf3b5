"""Which corpus documents make up which token source."""

from __future__ import annotations

import re

from pydantic import ConfigDict, Field, model_validator

from skywright.config import ByteSize, Config, TokenCount
from skywright.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class SourceConfig(Config):
    """A token source: documents of these corpus sources, in these languages.

    `from` lists values of the corpus column `source`; `lang` lists values of the column `lang`,
    and without it every language is taken. `expected_tokens` is its size as far as it is known
    before it is built: the plan is made with it until the shards are there.
    """

    # "from" is a Python keyword; recipes write it as it is.
    model_config = ConfigDict(populate_by_name=True)

    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    lang: tuple[str, ...] | None = Field(default=None, min_length=1)
    expected_tokens: TokenCount | None = Field(default=None, ge=1)

    def takes(self, source: str, lang: str | None) -> bool:
        """Whether a document of this corpus source and language belongs here."""
        return source in self.from_ and (self.lang is None or lang in self.lang)


class TokensConfig(Config):
    """Token sources by name. No document may belong to two of them.

    `shard_bytes`: about how much corpus data (before compression) makes one shard of each
    source; it decides how the work is cut, not what the streams hold.
    """

    sources: dict[str, SourceConfig] = Field(min_length=1)
    shard_bytes: ByteSize = Field(default=1 << 30, ge=1)

    @model_validator(mode="after")
    def _sources_are_apart(self) -> TokensConfig:
        seen: list[tuple[str, SourceConfig]] = []
        for name, source in self.sources.items():
            if not _NAME.fullmatch(name):
                raise UserError(
                    f"tokens.sources: {name!r} names files; use letters, digits, '-' and '_'"
                )
            for other_name, other in seen:
                shared = sorted(set(source.from_) & set(other.from_))
                overlap = (
                    source.lang is None
                    or other.lang is None
                    or bool(set(source.lang) & set(other.lang))
                )
                if shared and overlap:
                    raise UserError(
                        f"tokens.sources: {other_name!r} and {name!r} both take documents of"
                        f" {', '.join(shared)}, which would be trained on twice; part them by"
                        f" 'from' or 'lang' (a higher share in the mixture reads more of one)"
                    )
            seen.append((name, source))
        return self
