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


class RescoringConfig(Config):
    """A second opinion on the grey band, by an encoder that the user brings.

    `encoder`: a Hugging Face folder with a sequence-classification head of two classes (1 is the
    label). Pages of the languages `lang` whose linear score of `label` lies in the `band` (from,
    below) are scored again, by their first `max_tokens` tokens.
    """

    encoder: str
    label: str = "quality"
    band: tuple[float, float] = (0.2, 0.8)
    lang: tuple[Language, ...] = ("en", "zh")
    max_tokens: int = Field(default=512, ge=8)
    batch: int = Field(default=16, ge=1)
    device: str = "cpu"

    @field_validator("band")
    @classmethod
    def _a_band(cls, band: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= band[0] < band[1] <= 1:
            raise ValueError(
                f"{list(band)} is no band of scores; write [lowest, highest] in 0 to 1"
            )
        return band


class ClassifyConfig(Config):
    """Learned scores. `models` are names of shipped models or paths of your own.

    Every score is stored. A model with the labels `reference_en` and `reference_zh` gives the
    signal `quality` (the one of the page's language), which stands in the document's `meta` with
    `quality_bin`: its place among `bins` bins of equal size within its language, 0 the lowest.
    `min_quality` drops pages below a score, by language (default: none; the bins are for the
    mixture). `safety` are the rules by which pages are dropped. `sources` are those that are
    scored: "web" (WARC and HTML inputs), "all", or names. `ngrams` are n-gram models by language:
    they give the score `ngram_nats`, the cross-entropy of a page in nats a mixed token, and
    `ngram_bin` in `meta`, as `quality_bin` but 0 the least surprising. `rescore` gives pages of
    which the linear model is unsure to an encoder.
    """

    models: tuple[str, ...] = ("quality", "safety")
    bins: int = Field(default=10, ge=2, le=100)
    min_quality: dict[Language, float] = {}
    safety: tuple[SafetyRule, ...] = DEFAULT_SAFETY
    sources: Literal["web", "all"] | tuple[str, ...] = "all"
    ngrams: dict[Language, str] = {}
    rescore: RescoringConfig | None = None

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
