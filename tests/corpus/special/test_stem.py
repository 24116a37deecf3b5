"""Exercises: one form out, the usual forms of web pages in, and nothing made of mere lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.special.stem import Exercise, find, render

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


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    for exercise in find(text):
        assert exercise.question
        assert exercise.answer or exercise.solution
