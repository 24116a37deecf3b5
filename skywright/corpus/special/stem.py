"""Questions with answers: rendered one way, and recognised in web text.

A source of exercises should look the same wherever it came from, so that a model learns the
exercise and not the site. `render` writes the one form; `find` reads the usual ones of web pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

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
    r"\s*[0-9]{0,3}\s*[.:：、]|q\s*[0-9]{0,3}\s*[:：]|[0-9]{1,3}\s*[.、．])"
)
_ANSWER = (
    r"(?:(?:(?:correct |final )?answer|ans|a|(?:参考|正确)?答案|答)\s*[.]?\s*[:：]|故选\s*[:：]?)"
)
_SOLUTION = r"(?:solution|explanation|proof|解析|分析|解答|解|详解)\s*[:：]"
_LINE = re.compile(
    rf"^\s*(?:(?P<start>{_START})|(?P<solution>{_SOLUTION})|(?P<answer>{_ANSWER})"
    r"|(?P<header>(?:options|choices|选项)\s*[:：]\s*$)|(?P<option>[(（]?[A-J][)）.、．]))\s*",
    re.IGNORECASE,
)
_OPTIONS_IN_LINE = re.compile(r"\s+[(（]?([B-J])[)）.、．]\s*")
_ASKS = re.compile(
    r"[?？]|(?:find|compute|calculate|prove|show that|how (?:many|much)|determine|evaluate|solve)\b"
    r"|求|证明|计算|多少|是\s*[(（]\s*[)）]|下列|___",
    re.IGNORECASE,
)


def find(text: str) -> list[Exercise]:
    """Exercises of a page: a marked question that asks something, and a marked answer or solution.

    What has no answer is left out: a list of numbered points is no exercise.
    """
    found: list[Exercise] = []
    parts: dict[str, list[str]] = {}
    where = ""
    for line in text.splitlines():
        match = _LINE.match(line)
        kind = match.lastgroup if match else None
        if kind == "start":
            _finish(parts, found)
            parts = {"question": [], "options": [], "solution": [], "answer": []}
            where = "question"
        elif kind in ("option", "header") and where in ("question", "options"):
            where = "options"
        elif kind in ("solution", "answer") and parts:
            where = kind
        elif kind is not None:
            match = None
        if parts and where:
            rest = line[match.end() :] if match else line
            if where == "options":
                parts["options"] += _OPTIONS_IN_LINE.split(rest)[::2] if match else []
            elif rest.strip():
                parts[where].append(rest.strip())
            elif not line.strip() and where == "answer" and parts["answer"]:
                where = ""  # a blank line ends the answer
    _finish(parts, found)
    return found


def _finish(parts: dict[str, list[str]], found: list[Exercise]) -> None:
    if not parts:
        return
    question, solution, answer = (
        "\n".join(parts[name]) for name in ("question", "solution", "answer")
    )
    if question and (answer or solution) and _ASKS.search(question):
        options: Sequence[str] = [option.strip() for option in parts["options"] if option.strip()]
        found.append(Exercise(question, tuple(options), solution, answer))
