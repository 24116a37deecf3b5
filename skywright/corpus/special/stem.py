"""Questions with answers: rendered one way, and recognised in web text.

A source of exercises should look the same wherever it came from, so that a model learns the
exercise and not the site. `render` writes the one form; `locate` finds the usual ones of web pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

VERSION = "stem-1"
MARKS = {"en": ("Question:", "Options:", "Solution:", "Answer:"),
         "zh": ("题目：", "选项：", "解析：", "答案：")}  # fmt: skip
LETTERS = "ABCDEFGHIJ"


class Exercise(NamedTuple):
    """A question, its options (may be none), the way to the answer (may be empty), the answer."""

    question: str
    options: tuple[str, ...]
    solution: str
    answer: str


def render(exercise: Exercise, lang: str) -> str:
    """The one form: question, lettered options, solution, answer; empty parts are left out.

    `lang` "en" or "zh" chooses the words.
    """
    question, options, solution, answer = MARKS[lang]
    space = " " if lang == "en" else ""
    parts = [f"{question}{space}{exercise.question.strip()}"]
    if exercise.options:
        rows = [f"{letter}. {text.strip()}" for letter, text in zip(LETTERS, exercise.options)]  # noqa: B905 (letters are more than options)
        parts.append("\n".join([options, *rows]))
    if exercise.solution.strip():
        parts.append(f"{solution}{space}{exercise.solution.strip()}")
    if exercise.answer.strip():
        parts.append(f"{answer}{space}{exercise.answer.strip()}")
    return "\n".join(parts)


_START = (
    r"(?:(?:question|problem|exercise|例题?|习题|练习|题目|问题?|第\s*[0-9一二三四五六七八九十百]+\s*题)"
    r"\s*[0-9]{0,3}\s*[.:：、]|q\s*[:：]|q\s*[0-9]{1,3}\s*[.:：]|[0-9]{1,3}\s*[.、．])"
)
_ANSWER = (
    r"(?:(?:(?:correct |final )?answer|ans|a|(?:参考|正确)?答案|答)\s*[.]?\s*[:：]|故选\s*[:：]?)"
)
_SOLUTION = r"(?:solution|explanation|proof|解析|分析|解答|解|详解)\s*[:：]"
_LINE = re.compile(
    rf"^\s*(?:[*•-]\s+)?(?:(?P<start>{_START})|(?P<solution>{_SOLUTION})|(?P<answer>{_ANSWER})"
    r"|(?P<header>(?:options|choices|选项)\s*[:：]\s*$)|(?P<option>[(（]?[A-J][)）.、．]))\s*",
    re.IGNORECASE,
)
_MAYBE = re.compile(rf"^\s*(?:[*•-]\s+)?(?:{_SOLUTION}|{_ANSWER})", re.IGNORECASE | re.MULTILINE)
"""What a page with an exercise has; most pages have none, and are not looked at line by line."""
_HAN = re.compile(r"[\u3400-\u9fff]")
_OPTIONS_IN_LINE = re.compile(r"\s+[(（]?([B-J])[)）.、．]\s*")
_ASKS = re.compile(
    r"[?？]|(?:find|compute|calculate|prove|show that|how (?:many|much)|determine|evaluate|solve)\b"
    r"|求|证明|计算|多少|是\s*[(（]\s*[)）]|下列|___",
    re.IGNORECASE,
)


class Found(NamedTuple):
    """An exercise in text[start:end]. `whole`: rendering it anew loses nothing that stands there
    but marks, numbers of questions and blank lines.
    """

    exercise: Exercise
    start: int
    end: int
    whole: bool


@dataclass
class _Open:
    """An exercise that is being read: its parts line by line, and where its last line ended."""

    start: int
    end: int
    parts: dict[str, list[str]] = field(
        default_factory=lambda: {name: [] for name in ("question", "options", "solution", "answer")}
    )
    letters: str = ""
    lost: bool = False  # a line inside belongs to no part
    ended: bool = False  # text stands behind a blank line after the answer

    def found(self) -> Found | None:
        """The exercise, if it asks something and has an answer or a solution."""
        question, solution, answer = (
            "\n".join(self.parts[name]) for name in ("question", "solution", "answer")
        )
        if not question or not (answer or solution) or not _ASKS.search(question):
            return None
        options = tuple(option.strip() for option in self.parts["options"] if option.strip())
        lettered = self.letters == LETTERS[: len(options)]
        exercise = Exercise(question, options, solution, answer)
        return Found(exercise, self.start, self.end, lettered and not self.lost)


def language(text: str) -> str:
    """The words that an exercise is rendered with: "zh" where it has a Han character, or "en"."""
    return "zh" if _HAN.search(text) else "en"


def find(text: str) -> list[Exercise]:
    """Exercises of a page: a marked question that asks something, and a marked answer or solution.

    What has no answer is left out: a list of numbered points is no exercise.
    """
    return [found.exercise for found in locate(text)]


def locate(text: str) -> list[Found]:
    """The exercises of a page with their places, in order; no two overlap."""
    if not _MAYBE.search(text):
        return []
    found: list[Found | None] = []
    now: _Open | None = None
    where, at = "", 0
    for raw in text.splitlines(keepends=True):
        line, begin = raw.rstrip("\r\n"), at
        at += len(raw)
        match = _LINE.match(line)
        kind = match.lastgroup if match else None
        if kind == "start":
            found.append(now.found() if now else None)
            now, where = _Open(begin, begin), "question"
        elif kind in ("option", "header") and where in ("question", "options"):
            where = "options"
        elif kind in ("solution", "answer") and now:
            where = kind
        elif kind is not None:
            match = None
        if now is None or not line.strip():
            if now and where in ("answer", "solution") and now.parts["answer"] and now.parts[where]:
                where = ""  # a blank line ends an answer, and what explains it afterwards
            continue
        if not where:
            now.ended = True
            continue
        now.lost |= now.ended  # what stood between would go
        now.end = begin + len(line)
        rest = line[match.end() :] if match else line
        if where != "options":
            now.parts[where] += [rest.strip()] if rest.strip() else []
        elif match:
            first, *others = _OPTIONS_IN_LINE.split(rest)
            now.parts["options"] += [first, *others[1::2]]
            if kind == "option":
                now.letters += match["option"].strip("(（)）.、．")
            now.letters = (now.letters + "".join(others[::2])).upper()
        else:
            now.lost = True
    found.append(now.found() if now else None)
    return [item for item in found if item]


def rewritten(text: str) -> list[tuple[int, int, str]]:
    """Places (start, end) of a text that hold an exercise, each with the exercise in the one form;
    without those that have it already, and those that would lose something.
    """
    places = []
    for found in locate(text):
        one = render(found.exercise, language(found.exercise.question))
        if found.whole and one != text[found.start : found.end]:
            places.append((found.start, found.end, one))
    return places
