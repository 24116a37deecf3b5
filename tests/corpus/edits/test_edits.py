"""Cuts can be undone, fall on characters, and take what their rules say and nothing else."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus import signals
from skywright.corpus.edits import Cut, apply, edit_rows, restore
from skywright.corpus.edits.lines import NAMES, cuts
from skywright.errors import UserError

PIECES = st.sampled_from(
    [
        "We use cookies on this site.", "Enable JavaScript in your browser", "展开", "阅读全文",
        "12 likes", "1,204 views", "2024", "READ THIS NOW", "Sign-in here", "3 items in cart",
        "Read more...", "Home", "The river runs through the old town.", "河流穿过老城。", "[1]",
        "[edit]", "\n", "\n\n", "\r\n", "\u2028", " ", "\U00020000", "e\u0301", "\ufeff",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=30).map("".join)


def cut_text(text: str, *rules: str) -> tuple[str, dict[str, list[dict[str, object]]]]:
    lines = signals.measure_with_lines(pa.array([text])).lines.to_pylist()[0]
    return apply(text, cuts(text, lines["lines"], lines["flags"], rules))


@given(TEXTS, st.lists(st.sampled_from(NAMES), unique=True))
def test_the_text_and_the_edits_give_the_original_back(text: str, rules: list[str]) -> None:
    after, spans = cut_text(text, *rules)
    rows = edit_rows(b"0" * 16, "lines", spans)
    assert restore(after, rows) == text
    assert sum(row["chars_removed"] for row in rows) == len(text) - len(after)
    for row in rows:
        for span in row["spans"]:
            assert text[span["start"] : span["end"]] == span["removed"]
    after.encode()  # no lone surrogate
    assert after.count("\ufffd") <= text.count("\ufffd")


@given(
    st.text(max_size=60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.text(max_size=3)), max_size=8),
)
def test_any_cuts_can_be_undone(text: str, places: list[tuple[int, int, str]]) -> None:
    wanted = [
        Cut(min(a, b, len(text)), min(max(a, b), len(text)), f"rule{put}", put)
        for a, b, put in places
    ]
    after, spans = apply(text, wanted)
    assert restore(after, edit_rows(b"0" * 16, "s", spans)) == text


def test_lines_go_whole_and_phrases_alone() -> None:
    text = "Sign-in here\nWe use cookies.\n12 likes\nThe end is near [1].\n阅读全文"
    after, spans = cut_text(
        text, "cookie_notice", "refinedweb_counter", "refinedweb_furniture", "c4_citations", "zh_ui"
    )
    assert after == " here\nThe end is near .\n"
    assert {rule: [s["removed"] for s in found] for rule, found in spans.items()} == {
        "cookie_notice": ["We use cookies.\n"],
        "refinedweb_counter": ["12 likes\n"],
        "refinedweb_furniture": ["Sign-in"],
        "c4_citations": ["[1]"],
        "zh_ui": ["阅读全文"],
    }


def test_a_long_line_that_holds_a_phrase_stays() -> None:
    text = "The ministers spoke of pages that use cookies and of schools. " * 7 + "\nCookie policy"
    after, _ = cut_text(text, "cookie_notice")
    assert after == text.removesuffix("Cookie policy")
    assert cut_text(text, "c4_policy")[0] == ""


def test_the_first_rule_that_takes_a_line_is_named() -> None:
    assert list(cut_text("12 likes", "refinedweb_counter", "c4_few_words")[1]) == [
        "refinedweb_counter"
    ]
    assert list(cut_text("12 likes", "c4_few_words", "refinedweb_counter")[1]) == ["c4_few_words"]


def test_what_was_not_kept_cannot_be_restored() -> None:
    after, spans = apply("call 555", [Cut(5, 8, "phone", "<PHONE>")], keep_removed=False)
    assert after == "call <PHONE>"
    with pytest.raises(UserError, match="cannot be undone"):
        restore(after, edit_rows(b"0" * 16, "pii", spans))
    with pytest.raises(ValueError, match="outside"):
        apply("abc", [Cut(1, 9, "x")])
