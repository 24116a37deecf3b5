"""What a recipe says about parallel text and exercises."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from skywright.config import Config


class ParallelFields(Config):
    """The fields of a row that hold the same text in Chinese and in English."""

    zh: str = "zh"
    en: str = "en"


class ExerciseFields(Config):
    """The fields of a row that hold an exercise's parts; a part that is not named is left out.

    Each of `options` is a field with one option, or with a list of them.
    """

    question: str = "question"
    options: tuple[str, ...] = ()
    solution: str | None = None
    answer: str | None = "answer"


class AlignmentConfig(Config):
    """When two paragraphs are translations of each other.

    `max_log_ratio`: how far the logarithm of the length ratio may be from the usual one (ln 2 is
    half or double). `min_anchors`: the share of anchors of the Chinese side that the English one
    has. `min_chars`: paragraphs with fewer solid characters on the English side are no evidence.
    """

    max_log_ratio: float = Field(default=0.7, gt=0)
    min_anchors: float = Field(default=0.5, ge=0, le=1)
    min_chars: int = Field(default=20, ge=0)


class ParallelConfig(AlignmentConfig):
    """When two texts are: at least `min_aligned` of the paragraphs of the side with more of them
    found a partner. Of pages that belong together 85 % did, of others 35 % (docs/code.md). A side
    may have `max_paragraphs`: the time to align grows with the product of both.
    """

    min_aligned: float = Field(default=0.6, ge=0, le=1)
    max_paragraphs: int = Field(default=1_000, ge=1)


class ExercisesConfig(Config):
    """Exercises in pages of these `sources` ("web": WARC and HTML inputs, "all", or names).

    "rewrite" puts the one form in the place of those that can be read whole; "tag" counts them
    in the document's `meta` and changes nothing.
    """

    sources: Literal["web", "all"] | tuple[str, ...] = ()
    action: Literal["rewrite", "tag"] = "rewrite"
