"""What a recipe says about its corpus: inputs, limits, rules, duplicates, held-out text."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from skywright.config import ByteSize, Config
from skywright.corpus.classify.config import ClassifyConfig
from skywright.corpus.code.rules import CodeConfig
from skywright.corpus.decontaminate.config import DecontaminateConfig
from skywright.corpus.dedup.config import LinesConfig, SubstringsConfig
from skywright.corpus.pii import PiiConfig
from skywright.corpus.special.config import (
    ExerciseFields,
    ExercisesConfig,
    ParallelConfig,
    ParallelFields,
)

Lang = Literal["en", "zh-Hans", "zh-Hant", "code", "other"]
"""Languages a document of the corpus can have."""


class FieldsConfig(Config):
    """Names of the fields that hold a document's parts in JSONL and Parquet inputs.

    With `parallel` or `exercise` several fields make the text (docs/code.md), and `text` is not
    read. Every other field is kept in the document's `meta`.
    """

    text: str = "text"
    url: str = "url"
    date: str = "date"
    parallel: ParallelFields | None = None
    exercise: ExerciseFields | None = None

    @property
    def parts(self) -> ParallelFields | ExerciseFields | None:
        """The fields that make the text, where it is not one."""
        return self.parallel or self.exercise

    @model_validator(mode="after")
    def _one_form(self) -> FieldsConfig:
        if self.parallel is not None and self.exercise is not None:
            raise ValueError("a row is parallel text or an exercise, not both; leave one out")
        return self


class InputConfig(Config):
    """One input: a file, a folder or a pattern, here or behind a protocol (https://, s3://).

    With `paths_prefix` the file is a list of paths (as Common Crawl's warc.paths.gz), each of
    which is read behind that prefix. `markup` says that texts of JSONL or Parquet are LaTeX or
    wikitext, to be made plain.

    `lang` declares the language of the whole input and switches detection off. Of two copies of a
    document, the one from the source of the higher `priority` stays. `unique_urls` says that two
    records of one URL are two versions of one page (so for web pages, not for lists of texts);
    by default it is true for WARC, HTML and MediaWiki. `snapshot` names the crawl that the source
    belongs to, for `duplicates.scope: snapshot`.
    """

    source: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    kind: Literal["auto", "warc", "html", "jsonl", "parquet", "mediawiki", "latex"] = "auto"
    lang: Lang | None = None
    priority: int = 0
    fields: FieldsConfig = FieldsConfig()
    unique_urls: bool | None = None
    snapshot: str = ""
    url_prefix: str | None = None
    paths_prefix: str | None = None
    markup: Literal["none", "latex", "wikitext"] = "none"


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

    `max_depth` bounds the nesting of tags and `max_attributes` the attributes of one tag, because
    parsing time grows with their squares (measured: 18 ms at depth 1,000, 464 ms at 5,000; 2 ms
    with 1,000 attributes, 185 ms with 10,000, 16 s with 40,000).
    """

    max_record_bytes: ByteSize = 8 * 2**20
    max_text_bytes: ByteSize = 4 * 2**20
    max_tags: int = Field(default=200_000, gt=0)
    max_depth: int = Field(default=1_000, gt=0)
    max_attributes: int = Field(default=1_000, gt=0)
    min_chars: int = Field(default=1, ge=1)


class ExtractionConfig(Config):
    """How the main content of a page is found: `own` (a line model trained for this),
    `fast` (resiliparse's rules), `precise` (trafilatura in fast mode, an extra).

    The precise tier gives a page `precise_timeout_s` seconds, and a new process every
    `precise_pages_a_worker` pages.
    """

    tier: Literal["own", "fast", "precise"] = "own"
    precise_timeout_s: float = Field(default=30, gt=0)
    precise_pages_a_worker: int = Field(default=1_000, ge=1)


class RuleChanges(Config):
    """Changes to the rules: `presets` names those to start from (when given), `only` the rules that
    stay (when given), `off` those to leave out (`["*"]`: all of them), `thresholds` gives rules
    another threshold; rules in `drop` drop and rules in `tag` only tag.
    """

    presets: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    off: tuple[str, ...] = ()
    thresholds: dict[str, float] = {}


class AddedRule(Config):
    """A rule of the recipe's own: a `signal` (of ours, or `user.NAME` of `corpus.signals`), or a
    `function` as `module:function` that says of each row of the signals whether to drop it.
    `lang` and `source` say where it holds (empty: everywhere).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    signal: str = ""
    op: Literal["<", ">"] = ">"
    threshold: float = 0.0
    function: str | None = None
    action: Literal["drop", "tag"] = "drop"
    lang: tuple[Lang, ...] = ()
    source: tuple[str, ...] = ()


class EditChanges(Config):
    """Edits to switch on and off (`off: ["*"]`: all that are on by default)."""

    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


class EditsConfig(Config):
    """Changes to the edits by language, then by source. A document that an edit has left shorter
    than `min_chars` is dropped (RefinedWeb, arXiv 2306.01116, G.3: 20).
    """

    lang: dict[Lang, EditChanges] = {}
    source: dict[str, EditChanges] = {}
    min_chars: int = Field(default=20, ge=0)


class RulesConfig(Config):
    """Rules of the recipe's own, and changes by language, then by source (a source's wins)."""

    add: tuple[AddedRule, ...] = ()
    lang: dict[Lang, RuleChanges] = {}
    source: dict[str, RuleChanges] = {}


class DuplicatesConfig(Config):
    """MinHash settings: 14 bands of 8 rows on 5-grams, as in FineWeb (arXiv 2406.17557, section
    3.4). `jaccard` is the true similarity a removal needs. In a bucket of the LSH every document
    looks at the first and the last `neighbours` of the kept ones before it; measured: 64 costs as
    little as 16.

    `scope`: copies are sought in the whole corpus (`global`) or within each snapshot (an input's
    `snapshot`, by default its source). `exact`: the view in which exact copies are equal.
    `quality` names a signal: of two copies from sources of one priority the one with more stays.
    `lines` and `substrings` cut what documents that stay have in common; null: nothing is cut.
    """

    bands: int = Field(default=14, ge=1)
    rows: int = Field(default=8, ge=1)
    ngram: int = Field(default=5, ge=1)
    jaccard: float = Field(default=0.8, gt=0, le=1)
    neighbours: int = Field(default=64, ge=1)
    seed: int = 1
    scope: Literal["global", "snapshot"] = "global"
    exact: Literal["measure", "raw"] = "measure"
    quality: str | None = None
    lines: LinesConfig | None = None
    substrings: SubstringsConfig | None = None


class HeldoutConfig(Config):
    """A document that shares at least `containment` of its (or the evaluation document's) 5-grams
    with an evaluation document is dropped.
    """

    containment: float = Field(default=0.5, gt=0, le=1)
    ngram: int = Field(default=5, ge=1)


class CorpusConfig(Config):
    """The `corpus` part of a recipe.

    `signals` are the user's own, by name: `module:function`; `sample` is the share of documents to
    read, by id; files above `split_bytes` are read in parts side by side. A global step is cut into
    at most `partitions` parts, each of `partition_bytes` or more (packed): a small corpus has few.
    """

    inputs: tuple[InputConfig, ...] = Field(min_length=1)
    urls: UrlsConfig = UrlsConfig()
    language: LanguageConfig = LanguageConfig()
    limits: LimitsConfig = LimitsConfig()
    signals: dict[str, str] = {}
    edits: EditsConfig = EditsConfig()
    extraction: ExtractionConfig = ExtractionConfig()
    rules: RulesConfig = RulesConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    heldout: HeldoutConfig = HeldoutConfig()
    code: CodeConfig = CodeConfig()
    classify: ClassifyConfig = ClassifyConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    pii: PiiConfig = PiiConfig()
    parallel: ParallelConfig = ParallelConfig()
    exercises: ExercisesConfig = ExercisesConfig()
    partitions: int = Field(default=8, ge=1, le=4096)
    partition_bytes: ByteSize = Field(default=16 * 2**20, ge=1)
    sample: float = Field(default=1.0, gt=0, le=1)
    split_bytes: ByteSize | None = Field(default=None, ge=2**10)

    def partitions_for(self, size_bytes: int) -> int:
        """How many partitions a global step over tables of this size has.

        A power of two below `partitions`, so that a corpus that grows is seldom cut anew. Of the
        data alone, never of the machine: a task costs some 5 ms before it does anything.
        """
        count = 1
        while count < self.partitions and count * self.partition_bytes < size_bytes:
            count *= 2
        return min(count, self.partitions)

    @field_validator("inputs")
    @classmethod
    def _one_priority_a_source(cls, inputs: tuple[InputConfig, ...]) -> tuple[InputConfig, ...]:
        priorities: dict[str, int] = {}
        snapshots: dict[str, str] = {}
        for item in inputs:
            if priorities.setdefault(item.source, item.priority) != item.priority:
                raise ValueError(f"the source {item.source!r} has two priorities; give it one")
            if snapshots.setdefault(item.source, item.snapshot) != item.snapshot:
                raise ValueError(f"the source {item.source!r} has two snapshots; name two sources")
        return inputs

    @model_validator(mode="after")
    def _rules_name_sources(self) -> CorpusConfig:
        for where, named in (("rules", self.rules.source), ("edits", self.edits.source)):
            unknown = set(named) - {item.source for item in self.inputs}
            if unknown:
                raise ValueError(
                    f"{where}.source names {sorted(unknown)}, but no input has that source"
                )
        return self
