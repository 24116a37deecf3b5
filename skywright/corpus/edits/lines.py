"""Rules that cut lines, or phrases out of lines. What a line is was found while measuring.

Lines are those of the signals: they end at \\n, U+2028 or U+2029, and are numbered from 0. A line
goes with the newline behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from skywright.corpus.edits.spans import Cut
from skywright.corpus.signals import LINE_FLAGS

VERSION = "edit-lines/v1"

_NEWLINE = re.compile("[\n\u2028\u2029]")
# RefinedWeb (arXiv 2306.01116, G.2): the phrase goes, the rest of the line stays.
_FURNITURE = re.compile(r"^\s*sign-in|items in cart|read more(?:\.\.\.|…)\s*$", re.IGNORECASE)
# C4 (c4_utils): marks of Wikipedia's notes.
_CITATION = re.compile(r"\[(?:\d+|edit|citation needed)\]")

Inside = Callable[[str], Sequence[tuple[int, int]]]


class LineRule(NamedTuple):
    """Cuts the lines that have `flag`, or of them only what `inside` finds.

    `max_chars` spares longer lines (None: none): a paragraph that happens to hold a phrase.
    """

    flag: str
    source: str
    inside: Inside | None = None
    max_chars: int | None = None


def _furniture(line: str) -> list[tuple[int, int]]:
    return [match.span() for match in _FURNITURE.finditer(line)]


# Lines that speak of cookies or scripts are notices only where they say what these say; longer ones
# are paragraphs about them (the bounds are our own; measured, see docs/rules.md).
_COOKIES = re.compile(r"\b(?:uses?|use of) cookies\b|\bcookie policy\b", re.IGNORECASE)
_ASKS_FOR_SCRIPT = re.compile(
    r"\b(?:enable|enabled|disabled|turn on|activate|requires?|browser|support)\b", re.IGNORECASE
)
COOKIE_CHARS, SCRIPT_CHARS = 400, 200


def _whole_if(pattern: re.Pattern[str]) -> Inside:
    return lambda line: [(0, len(line))] if pattern.search(line) else []


LINE_RULES: dict[str, LineRule] = {
    "c4_javascript": LineRule("javascript", "C4: lines with `javascript`"),
    "c4_policy": LineRule("policy", "C4: lines that speak of cookies or terms of use"),
    "c4_few_words": LineRule("few_words", "C4: lines of under 3 words"),
    "c4_long_word": LineRule("long_word", "C4: lines with a word of over 1,000 characters"),
    "c4_open_line": LineRule("no_end", "C4: lines without terminal punctuation"),
    "cookie_notice": LineRule(
        "policy", f"C4's policy lines that speak of cookies, of at most {COOKIE_CHARS} characters",
        _whole_if(_COOKIES), COOKIE_CHARS,
    ),
    "javascript_notice": LineRule(
        "javascript", f"lines of at most {SCRIPT_CHARS} characters that ask for JavaScript",
        _whole_if(_ASKS_FOR_SCRIPT), SCRIPT_CHARS,
    ),
    "refinedweb_upper": LineRule("upper", "RefinedWeb: lines mostly in upper case"),
    "refinedweb_numeric": LineRule("numeric", "RefinedWeb: lines of digits alone"),
    "refinedweb_counter": LineRule("counter", "RefinedWeb: lines that are counters (3 likes)"),
    "refinedweb_one_token": LineRule("one_token", "RefinedWeb: lines of one word"),
    "refinedweb_furniture": LineRule(
        "furniture", "RefinedWeb: phrases of page furniture in short lines", _furniture
    ),
    "zh_ui": LineRule("ui", "short lines with a phrase of Chinese page furniture"),
}  # fmt: skip
"""Line rules by name."""

PHRASE_RULES: dict[str, re.Pattern[str]] = {"c4_citations": _CITATION}
"""Rules that cut what a pattern finds, anywhere."""

NAMES = (*LINE_RULES, *PHRASE_RULES)
"""Every rule that can be switched on."""


# On by default: the rules whose cuts were audited to be right at least 95 times in 100
# (docs/rules.md).
DEFAULT_EDITS: dict[str, tuple[str, ...]] = {
    "en": ("cookie_notice", "refinedweb_counter"),
    "zh": ("zh_ui",),
}
"""The rules that are on, by language; zh serves zh-Hans and zh-Hant."""


def cuts(text: str, lines: Sequence[int], flags: Sequence[int], rules: Sequence[str]) -> list[Cut]:
    """The cuts of `rules` (names of `NAMES`, in order of precedence) into a text.

    lines, flags: the flagged lines, as `signals.measure_with_lines` gives them.
    """
    found = [
        Cut(*match.span(), name)
        for name in rules
        if name in PHRASE_RULES
        for match in PHRASE_RULES[name].finditer(text)
    ]
    wanted = [(name, LINE_RULES[name]) for name in rules if name in LINE_RULES]
    bits = sum({1 << LINE_FLAGS.index(rule.flag) for _, rule in wanted})
    hit = {number: flag for number, flag in zip(lines, flags, strict=True) if flag & bits}
    if not hit:
        return found
    ends = [match.start() for match in _NEWLINE.finditer(text)]
    starts = [0, *(end + 1 for end in ends)]
    ends.append(len(text))
    for number, flag in hit.items():
        start, end = starts[number], ends[number]
        line = text[start:end]
        for name, rule in wanted:
            if not flag >> LINE_FLAGS.index(rule.flag) & 1:
                continue
            if rule.max_chars is not None and len(line.strip()) > rule.max_chars:
                continue
            inside = rule.inside(line) if rule.inside else [(0, len(line))]
            if inside == [(0, len(line))]:
                found.append(Cut(start, min(end + 1, len(text)), name))
                break  # the line is gone; the first rule is the one that is named
            found += [Cut(start + a, start + b, name) for a, b in inside]
    return found
