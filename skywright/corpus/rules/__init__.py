"""Rules: which documents stay, by the numbers measured on them."""

from skywright.corpus.rules.decide import (
    DECISIONS,
    TAGS,
    Decided,
    Rule,
    decide,
    decide_and_tag,
    rules_for,
)
from skywright.corpus.rules.presets import DEFAULT_PRESETS, DEFAULT_RULES, PRESETS

__all__ = [
    "DECISIONS", "DEFAULT_PRESETS", "DEFAULT_RULES", "PRESETS", "TAGS", "Decided", "Rule", "decide",
    "decide_and_tag", "rules_for",
]  # fmt: skip
