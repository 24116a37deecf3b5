"""What a recipe says about learned scores."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from skywright.config import Config

Language = Literal["en", "zh"]


class SafetyRule(Config):
    """Drop a page whose score of `label` is at least `threshold`, in these languages."""

    label: str
    threshold: float = Field(gt=0, le=1)
    lang: tuple[Language, ...] = ("en", "zh")


DEFAULT_SAFETY: tuple[SafetyRule, ...] = (
    SafetyRule(label="violence", threshold=0.9, lang=("zh",)),
)
"""The one label whose measured precision is at least .95, its interval's lower end too, at a
threshold that drops none of fresh news, articles and abstracts, and nothing else that is known to
be harmless; see the safety model's card. The others have no rule: the shipped model was not shown
to tell them.
"""


class ClassifyConfig(Config):
    """Learned scores. `models` are names of shipped models or paths of your own.

    Every score is stored. A model with the labels `reference_en` and `reference_zh` gives the
    signal `quality` (the one of the page's language), which stands in the document's `meta` with
    `quality_bin`: its place among `bins` bins of equal size within its language, 0 the lowest.
    `min_quality` drops pages below a score, by language (default: none; the bins are for the
    mixture). `safety` are the rules by which pages are dropped. `sources` are those that are
    scored: "web" (WARC and HTML inputs), "all", or names. `ngrams` are n-gram models by language:
    they give the score `ngram_nats`, the cross-entropy of a page in nats a mixed token.
    """

    models: tuple[str, ...] = ("quality", "safety")
    bins: int = Field(default=10, ge=2, le=100)
    min_quality: dict[Language, float] = {}
    safety: tuple[SafetyRule, ...] = DEFAULT_SAFETY
    sources: Literal["web", "all"] | tuple[str, ...] = "all"
    ngrams: dict[Language, str] = {}

    @field_validator("safety")
    @classmethod
    def _one_rule_a_label(cls, rules: tuple[SafetyRule, ...]) -> tuple[SafetyRule, ...]:
        seen = set()
        for rule in rules:
            for lang in rule.lang:
                if (rule.label, lang) in seen:
                    raise ValueError(f"two rules for the label {rule.label!r} in {lang!r}")
                seen.add((rule.label, lang))
        return rules
