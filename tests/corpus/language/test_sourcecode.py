"""Which documents count as source code."""

from __future__ import annotations

import inspect
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus import sourcecode
from skywright.corpus.language import detect, label
from skywright.corpus.sourcecode import code_share, is_code
from tests.corpus.language.test_accuracy import rows
from tests.corpus.pages import EN, ZH, needs_data

PROGRAM = inspect.getsource(sourcecode.code_share)
HTML_TABLE = "\n".join(f"setting_{n} = {n}; (default)" for n in range(3))


def test_a_program_is_code_and_has_no_language() -> None:
    assert is_code(PROGRAM)
    found = label(PROGRAM)
    assert found.lang == "code"
    assert found.score == pytest.approx(code_share(PROGRAM))


@pytest.mark.parametrize(
    "text", [EN, ZH, "", "\n\n", "a;", HTML_TABLE, f"{EN}\n{HTML_TABLE}\n" * 3]
)
def test_prose_and_scraps_are_not(text: str) -> None:
    assert not is_code(text)
    assert label(text) == detect(text)


def test_a_lesson_with_a_listing_is_prose_and_a_program_with_comments_is_code() -> None:
    lesson = "\n".join([ZH] * 12 + [PROGRAM])
    assert not is_code(lesson)
    commented = PROGRAM + textwrap.indent("\n".join(ZH.split("，")[:2]), "    # ")
    assert is_code(commented)


@given(st.text())
def test_any_text_has_a_share(text: str) -> None:
    assert 0.0 <= code_share(text) <= 1.0


@needs_data
@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("code_cpp_2024_06", 430, 450),
        ("code_python_2024_06", 388, 450),
        ("en_tech_blogs_to_2024", 0, 2),
        ("en_peps_to_2024", 0, 0),
        ("zh_java_tech", 0, 0),
        ("en_math_tex", 0, 0),
        ("zh_reviews", 0, 0),
    ],
)
def test_real_programs_are_code_and_texts_on_programs_are_not(
    name: str, least: int, most: int
) -> None:
    found = sum(is_code(row["text"]) for row in rows(f"corpus/{name}.jsonl.gz"))
    assert least <= found <= most
