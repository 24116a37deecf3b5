"""What a recipe says about its corpus: inputs, limits, rules, duplicates, held-out text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from skywright.config import ByteSize, Config

Lang = Literal["en", "zh-Hans", "zh-Hant", "code", "other"]
"""Languages a document of the corpus can have."""


class FieldsConfig(Config):
    """Names of the fields that hold a document's parts in JSONL and Parquet inputs.

    Every other field is kept in the document's `meta`.
    """

    text: str = "text"
    url: str = "url"
    date: str = "date"


class InputConfig(Config):
    """One input: a file, a folder or a glob pattern.

    `lang` declares the language of the whole input and switches detection off. Of two copies of a
    document, the one from the source of the higher `priority` stays. `unique_urls` says that two
    records of one URL are two versions of one page (so for web pages, not for lists of texts);
    by default it is true for WARC and HTML.
    """

    source: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    kind: Literal["auto", "warc", "html", "jsonl", "parquet"] = "auto"
    lang: Lang | None = None
    priority: int = 0
    fields: FieldsConfig = FieldsConfig()
    unique_urls: bool | None = None
    url_prefix: str | None = None


class UrlsConfig(Config):
    """URL rules. Lists are text files, one entry a line, `#` for comments, `.gz` allowed; they
    come on top of the shipped lists unless `shipped_lists` is false.

    A domain blocks its whole site (registrable domain), a host itself and the hosts below it, an
    URL itself and what is below it, a substring every address that contains it. `allowed_words`
    are harmless words that contain one of the others.
    """

    shipped_lists: bool = True
    blocked_domains: tuple[str, ...] = ()
    blocked_hosts: tuple[str, ...] = ()
    blocked_urls: tuple[str, ...] = ()
    blocked_substrings: tuple[str, ...] = ()
    strict_words: tuple[str, ...] = ()
    hard_words: tuple[str, ...] = ()
    soft_words: tuple[str, ...] = ()
    allowed_words: tuple[str, ...] = ()
    max_soft_words: int = Field(default=1, ge=0)


class LanguageConfig(Config):
    """Languages that stay; "other" are all but English and Chinese. `min_score` is RefinedWeb's
    .65 (arXiv 2306.01116, section 3.1); of code nothing is asked but that it prevails.
    """

    keep: tuple[Lang, ...] = ("en", "zh-Hans", "zh-Hant", "code")
    min_score: float = Field(default=0.65, ge=0, le=1)


class LimitsConfig(Config):
    """Counted limits on one record. Above them it is dropped, and the ledger says so.

    `max_depth` bounds the nesting of tags, because the extraction's time grows with its square
    (measured: 18 ms at depth 1,000, 464 ms at 5,000).
    """

    max_record_bytes: ByteSize = 8 * 2**20
    max_text_bytes: ByteSize = 4 * 2**20
    max_tags: int = Field(default=200_000, gt=0)
    max_depth: int = Field(default=1_000, gt=0)
    min_chars: int = Field(default=1, ge=1)


class RuleChanges(Config):
    """Changes to the default rules: `only` names the rules that stay (when given), `off` those to
    leave out (`["*"]`: all of them), `thresholds` gives rules another threshold.
    """

    only: tuple[str, ...] | None = None
    off: tuple[str, ...] = ()
    thresholds: dict[str, float] = {}


class RulesConfig(Config):
    """Changes to the rules by language, then by source (a source's change wins)."""

    lang: dict[Lang, RuleChanges] = {}
    source: dict[str, RuleChanges] = {}


class DuplicatesConfig(Config):
    """MinHash settings: 14 bands of 8 rows on 5-grams, as in FineWeb (arXiv 2406.17557, section
    3.4). `jaccard` is the true similarity a removal needs. In a bucket of the LSH every document
    is compared with its `neighbours` best ones.
    """

    bands: int = Field(default=14, ge=1)
    rows: int = Field(default=8, ge=1)
    ngram: int = Field(default=5, ge=1)
    jaccard: float = Field(default=0.8, gt=0, le=1)
    neighbours: int = Field(default=16, ge=1)
    seed: int = 1


class HeldoutConfig(Config):
    """A document that shares at least `containment` of its (or the evaluation document's) 5-grams
    with an evaluation document is dropped.
    """

    containment: float = Field(default=0.5, gt=0, le=1)
    ngram: int = Field(default=5, ge=1)


class CorpusConfig(Config):
    """The `corpus` part of a recipe."""

    inputs: tuple[InputConfig, ...] = Field(min_length=1)
    urls: UrlsConfig = UrlsConfig()
    language: LanguageConfig = LanguageConfig()
    limits: LimitsConfig = LimitsConfig()
    rules: RulesConfig = RulesConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    partitions: int = Field(default=8, ge=1, le=4096)

    @field_validator("inputs")
    @classmethod
    def _one_priority_a_source(cls, inputs: tuple[InputConfig, ...]) -> tuple[InputConfig, ...]:
        priorities: dict[str, int] = {}
        for item in inputs:
            if priorities.setdefault(item.source, item.priority) != item.priority:
                raise ValueError(f"the source {item.source!r} has two priorities; give it one")
        return inputs

    @model_validator(mode="after")
    def _rules_name_sources(self) -> CorpusConfig:
        unknown = set(self.rules.source) - {item.source for item in self.inputs}
        if unknown:
            raise ValueError(f"rules.source names {sorted(unknown)}, but no input has that source")
        return self
