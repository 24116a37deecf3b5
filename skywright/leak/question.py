"""The numbers of a question: which may be drawn anew, and which must stay."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from skywright.leak.arithmetic import NUMBER, WORDS, parse_number

_WORD = r"\b(?:" + "|".join(WORDS) + r")\b"
MENTION = re.compile(rf"(?<![\w.,])(?:{NUMBER})|(?<![\w-]){_WORD}", re.IGNORECASE)
"""A number in running text, in digits or as a word from one to twenty."""

CONSTANTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"half|halv|twice|doubl|both|couple|pair|each other|even|bicycle|bike|twin",
     ("2", ".5", "50")),
    (r"tripl|third|thrice|trio|tricycle", ("3",)),
    (r"quarter|fourth|quadrupl", ("4", ".25", "25")),
    (r"fifth|quintupl|nickel", ("5",)),
    (r"sixth", ("6",)),
    (r"seventh", ("7",)),
    (r"eighth", ("8",)),
    (r"ninth", ("9",)),
    (r"tenth|dime", ("10",)),
    (r"week|day", ("7", "5", "2", "4", "52")),
    (r"month|year|annual|decade|centur", ("12", "4", "30", "31", "52", "365", "10", "100")),
    (r"hour|minute|second|day|clock|noon|midnight|o'clock|a\.m|p\.m|\bam\b|\bpm\b",
     ("60", "24", "12", "3600")),
    (r"dozen|inch|feet|foot|gross", ("12", "144", "36")),
    (r"yard", ("3", "36")),
    (r"pound|ounce|gallon|quart|pint|cup|mile", ("16", "4", "2", "8", "5280", "2000")),
    (r"hundred|thousand|million|meter|gram|liter|kilo|km|kg|ml|ton",
     ("100", "1000", "1000000", "10")),
    (r"leg|wheel|tire|side|paw|eye|ear\b|ears|wing|arm|hand|shoe|sock|finger|toe|edge|corner|square"
     r"|rectang|triang|hexag|octag|pentag|cube|perimeter|insect|spider|dog|cat|cow|horse|chicken",
     ("2", "3", "4", "5", "6", "8", "10", "12", "20")),
    (r"card|deck", ("52", "4", "13")),
    (r"alphabet", ("26",)),
    (r"degree|angle", ("180", "360", "90")),
    (r"average|mean|middle|halfway", ("2",)),
    (r"twins|himself|herself|friend|brother|sister|parent|mother|wife|husband|other|another|rest",
     ("2", "3")),
)  # fmt: skip
"""Words of a problem and the numbers that its solution may take from them and not from the text.
A number of the question that equals one of these stays as it is: whether the solution means it or
the word cannot be told. Always reserved besides: 0, 1 and 100 (per cent, cents)."""


@dataclass(frozen=True)
class Mention:
    """One number in a text."""

    start: int
    end: int
    text: str
    value: Fraction
    is_word: bool
    percent: bool
    cents: bool
    frozen: bool


def _frozen(text: str, start: int, end: int, value: Fraction, is_word: bool) -> bool:
    before, after = text[:start], text[end:]
    if value < 2 or re.match(r"\s*(?::\d|/\s*\d|[ap]\.?m\b|o'clock)", after, re.IGNORECASE):
        return True
    if re.search(r"(?:\d\s*[:/]|\ban\s|#)\s*$", before, re.IGNORECASE):
        return True
    if re.match(r"[A-Za-z]|,\d|\s+(?:hundred|thousand|million|and\s+a\s+half)\b", after):
        return True
    if re.match(r"[-\s](?:half|halves|thirds?|fourths?|quarters?|fifths?|sixths?|sevenths?"
                r"|eighths?|ninths?|tenths?|one\b)", after, re.IGNORECASE):  # fmt: skip
        return True
    if not is_word and 1800 <= value <= 2100 and not before.endswith("$") and value % 50:
        return True  # a year
    return is_word and value < 2


def mentions(text: str) -> list[Mention]:
    """All numbers of a text, in order."""
    found = []
    for match in MENTION.finditer(text):
        word = match.group().lower()
        is_word = word in WORDS
        value = Fraction(WORDS[word]) if is_word else parse_number(word)
        after = text[match.end() :]
        found.append(
            Mention(
                match.start(),
                match.end(),
                match.group(),
                value,
                is_word,
                percent=bool(re.match(r"\s*(?:%|percent)", after)),
                cents=bool(re.match(r"[\s-]*(?:cents?\b|¢)", after)),
                frozen=_frozen(text, match.start(), match.end(), value, is_word),
            )
        )
    return found


def reserved_constants(text: str) -> set[Fraction]:
    """Numbers that a solution may use because of a word in the problem."""
    found = {Fraction(0), Fraction(1), Fraction(100), Fraction(1, 100)}
    for pattern, values in CONSTANTS:
        if re.search(rf"\b(?:{pattern})", text, re.IGNORECASE):
            found.update(Fraction(value) for value in values)
    return found


@dataclass(frozen=True)
class Variable:
    """All mentions of one value in a question: they are drawn together, or not at all."""

    value: Fraction
    decimals: int
    percent: bool
    cents: bool
    is_word: bool
    after_a: bool
    frozen: bool


def variables(question: str, answer: str) -> list[Variable]:
    """The distinct numbers of a question, in order of appearance."""
    reserved = reserved_constants(question + "\n" + answer)
    by_value: dict[Fraction, list[Mention]] = {}
    for mention in mentions(question):
        by_value.setdefault(mention.value, []).append(mention)
    return [
        Variable(
            value,
            decimals=max(len(m.text.partition(".")[2]) for m in group),
            percent=any(m.percent for m in group),
            cents=any(m.cents for m in group),
            is_word=any(m.is_word for m in group),
            after_a=any(re.search(r"\ba\s$", question[: m.start]) is not None for m in group),
            frozen=value in reserved or any(m.frozen for m in group),
        )
        for value, group in by_value.items()
    ]
