"""Exercises: one form out, the usual forms of web pages in, and nothing made of mere lists."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.special.stem import Exercise, find, locate, render, rewritten

EN = Exercise(
    "How many legs have 3 cats?", ("9", "12", "15"), "Each cat has 4, so 3 x 4 = 12.", "B"
)
ZH = Exercise("求 3 只猫一共有多少条腿？", (), "每只猫有 4 条，3 × 4 = 12。", "12")


@pytest.mark.parametrize(("exercise", "lang"), [(EN, "en"), (ZH, "zh")])
def test_what_is_rendered_is_recognised(exercise: Exercise, lang: str) -> None:
    assert find(render(exercise, lang)) == [exercise]


WEB = """Practice page
1. What is the value of 2 + 3?
A) 4   B) 5   C) 6
Answer: B
Explanation: count on your fingers.

2. Compute 7 x 8.
Ans: 56

Read more about us
"""


def test_the_usual_forms_of_web_pages_are_read() -> None:
    first, second = find(WEB)
    assert first.question == "What is the value of 2 + 3?"
    assert first.options == ("4", "5", "6")
    assert (first.answer, first.solution) == ("B", "count on your fingers.")
    assert (second.question, second.answer) == ("Compute 7 x 8.", "56")


def test_chinese_pages_are_read() -> None:
    page = (
        "例1. 下列各数中最大的是（ ）\nA. 1\nB. 3\nC. 2\n【提示】想一想\n解析：3 最大。\n答案：B\n"
    )
    (found,) = find(page)
    assert found.options[:3] == ("1", "3", "2")
    assert found.answer == "B"
    assert found.solution.startswith("3 最大。")


@pytest.mark.parametrize(
    "text",
    [
        "1. Open the lid.\n2. Pour the water.\n3. Close the lid.",
        "Question: what shall we do?\nNobody knows.",
        "第一章 总则\n第一条 为了规范管理，制定本法。",
        "",
    ],
)
def test_lists_questions_without_answers_and_statutes_are_no_exercises(text: str) -> None:
    assert find(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "Question: How many?\nA. 1\nand a half\nB. 2\nAnswer: B",  # a line of no part
        "Question: How many?\nB. 1\nC. 2\nAnswer: B",  # letters would change their options
        "Question: How many?\nAnswer: 2\n\nRead more\nSolution: count",  # text in between
    ],
)
def test_what_would_lose_something_is_not_rewritten(text: str) -> None:
    (found,) = locate(text)
    assert not found.whole
    assert rewritten(text) == []


def test_places_are_those_of_the_text_and_the_one_form_stays() -> None:
    text = f"Intro\n{WEB}"
    one, two = rewritten(text)
    assert text[one[0] : one[1]].startswith("1. What is")
    assert text[one[0] : one[1]].endswith("fingers.")
    assert text[two[0] : two[1]] == "2. Compute 7 x 8.\nAns: 56"
    assert two[2] == "Question: Compute 7 x 8.\nAnswer: 56"
    assert rewritten(one[2]) == []


_LINES = st.sampled_from(
    [
        "Q: how many?",
        "1. Compute it.",
        "A. x",
        "B) y C) z",
        "Answer: 3",
        "解析：数一数",
        "答案：B",
        "",
        "so",
    ]
)


@given(st.lists(_LINES, max_size=12))
def test_rewriting_loses_no_word_and_is_done_once(lines: list[str]) -> None:
    text = "\n".join(lines)
    for start, end, one in rewritten(text):
        before, after = (sorted(re.findall(r"\w+", part)) for part in (text[start:end], one))
        marks = {
            "Q",
            "1",
            "A",
            "B",
            "C",
            "Answer",
            "解析",
            "答案",
            "Question",
            "Options",
            "Solution",
            "题目",
            "选项",
        }
        assert [w for w in before if w not in marks] == [w for w in after if w not in marks]
        assert rewritten(one) == []


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for exercise in find(text):
        assert exercise.question
        assert exercise.answer or exercise.solution
