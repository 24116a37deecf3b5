"""Which corpus documents make up which token source."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from skywright.config import ByteSize, Config, TokenCount
from skywright.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def quality_bin_of(meta: str | None) -> int | None:
    """The bin of quality that the corpus wrote into a document's `meta`, None where it has none.

    Raises ValueError for what is no JSON object.
    """
    told = json.loads(meta or "{}")
    if not isinstance(told, dict):
        raise ValueError("no JSON object")
    found = told.get("quality_bin")
    return None if found is None else int(found)


class SourceConfig(Config):
    """A token source: documents of these corpus sources, in these languages, of this quality.

    `from` lists values of the corpus column `source`; `lang` lists values of the column `lang`,
    and without it every language is taken. `quality` gives the lowest and the highest bin of
    quality (`quality_bin` of the corpus, 0 the lowest, within a language) that is taken; a
    document without a score is then not. `expected_tokens` is its size as far as it is known
    before it is built: the plan is made with it until the shards are there.
    """

    # "from" is a Python keyword; recipes write it as it is.
    model_config = ConfigDict(populate_by_name=True)

    from_: tuple[str, ...] = Field(alias="from", min_length=1)
    lang: tuple[str, ...] | None = Field(default=None, min_length=1)
    quality: tuple[int, int] | None = None
    expected_tokens: TokenCount | None = Field(default=None, ge=1)

    @field_validator("quality")
    @classmethod
    def _a_range(cls, quality: tuple[int, int] | None) -> tuple[int, int] | None:
        if quality is not None and not 0 <= quality[0] <= quality[1]:
            raise ValueError(f"{list(quality)} is no range of bins; write [lowest, highest]")
        return quality

    def takes(self, source: str, lang: str | None, quality_bin: int | None = None) -> bool:
        """Whether a document of this corpus source, language and bin of quality belongs here."""
        if source not in self.from_ or (self.lang is not None and lang not in self.lang):
            return False
        if self.quality is None:
            return True
        return quality_bin is not None and self.quality[0] <= quality_bin <= self.quality[1]

    def overlaps(self, other: SourceConfig) -> list[str]:
        """The corpus sources of which both take documents, or may."""
        if (
            self.lang is not None
            and other.lang is not None
            and not set(self.lang) & set(other.lang)
        ):
            return []
        if self.quality is not None and other.quality is not None:
            lowest = max(self.quality[0], other.quality[0])
            if lowest > min(self.quality[1], other.quality[1]):
                return []
        return sorted(set(self.from_) & set(other.from_))


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
                shared = source.overlaps(other)
                if shared:
                    raise UserError(
                        f"tokens.sources: {other_name!r} and {name!r} both take documents of"
                        f" {', '.join(shared)}, which would be trained on twice; part them by"
                        f" 'from', 'lang' or 'quality' (a higher share in the mixture reads more of"
                        " one)"
                    )
            seen.append((name, source))
        return self

    @property
    def by_quality(self) -> bool:
        """Whether a source asks for documents of some quality."""
        return any(source.quality is not None for source in self.sources.values())

    def naming(self) -> dict[str, Any]:
        """What of the sources decides which documents they hold, as JSON: it names the shards.

        A quality that is not asked for is left out, so that shards keep their names.
        """
        told = self.model_dump(mode="json", include={"sources"})
        for source in told["sources"].values():
            del source["expected_tokens"]  # for plans before the shards
            if source["quality"] is None:
                del source["quality"]
        return told
