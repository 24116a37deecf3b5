"""Lines of a page: every character of the page and none but those, markup undone exactly."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.extract.lines import (
    HEADING,
    ITEM,
    PARAGRAPH,
    PREFORMATTED,
    Lines,
    joined,
    lines,
)
from skywright.corpus.extract.own import page_lines, title_of


def texts(found: Lines) -> list[str]:
    text = found.text.tobytes()
    return [text[a:b].decode() for a, b in zip(found.starts, found.ends, strict=True)]


def test_lines_know_what_they_stand_in() -> None:
    found = page_lines(
        "<h2>Head</h2><p>One<br>two<br><br>three</p><ul><li>Item <a href=/x>link</a></ul>"
        "<pre>  a &lt; b\n\n    c</pre>End"
    )
    assert texts(found) == ["Head", "One", "two", "three", "Item link", "  a < b", "    c", "End"]
    assert found.kind.tolist() == [
        HEADING, PARAGRAPH, PARAGRAPH, PARAGRAPH, ITEM, PREFORMATTED, PREFORMATTED, 0,
    ]  # fmt: skip
    assert found.level.tolist()[0] == 2
    assert found.breaks.tolist()[1:4] == [2, 1, 2]
    assert found.linked.tolist()[4] == 4
    assert found.links.tolist()[4] == 1


def test_a_mark_without_an_address_is_no_link() -> None:
    assert page_lines("<p><a name=here>Text that a mark encloses</a></p>").linked.tolist() == [0]


@given(st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_what_is_written_is_what_stood_on_the_page(text: str) -> None:
    page = "<p>" + text.replace("&", "&amp;").replace("<", "&lt;") + "</p>"
    found = page_lines(page)
    kept = joined(found, np.ones(len(found.starts), bool))
    shown = re.sub(r"\s|\u200b", "", text)
    assert re.sub(r"\s|\u200b", "", kept) == shown


@given(st.text(alphabet='<>/aphl1ourbei \n&;"=mtq中', max_size=80))
def test_any_markup_is_cut_into_lines_that_show_something(markup: str) -> None:
    assert all(text.strip() for text in texts(lines(markup)))


def test_dropped_lines_leave_paragraphs_apart() -> None:
    found = page_lines("<p>One</p><p>menu</p>two<br>three")
    assert joined(found, np.array([True, False, True, True])) == "One\n\ntwo\nthree"
    assert joined(found, np.zeros(4, bool)) == ""


def test_titles_are_read_as_they_are_shown() -> None:
    assert title_of("<title lang=en> A &amp;\n B </title>") == "A & B"
    assert title_of("<p>none</p>") is None
