"""The pass over a page: counts that an attacker cannot talk down, and hints."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skywright.corpus.extract import words
from skywright.corpus.extract.lines import Lines
from skywright.corpus.extract.scan import scan


def told(page: str) -> list[tuple[str, set[str], int]]:
    """Every line with the hints of all elements around it, and whether it begins in a link."""
    found = scan(page.encode())[1]
    text = found.text.tobytes()
    return [
        (
            text[start:end].decode(),
            {name for bit, name in enumerate(words.HINTS) if mask >> bit & 1},
            linked,
        )
        for start, end, mask, linked in zip(
            *(c.tolist() for c in (found.starts, found.ends, found.far, found.in_link)), strict=True
        )
    ]


@pytest.mark.parametrize(
    ("page", "tags", "depth"),
    [
        ("<p>a<p>b<br><ul><li>c<li>d</ul></p>", 8, 2),
        ("<!-- <b> --><p>x", 1, 1),
        ("<!--><p>x", 1, 1),  # an empty comment, by the standard
        ("<script>if (a<b) '<div>'</script><p>x", 3, 1),
        ("<p title='a > b'>x</p>", 2, 1),
        ("a < b <3 </>", 0, 0),
        ("<table><tr><td>a<td>b<tr><td>c</table>", 7, 3),
        ("<div><svg><path/><path/></svg></div>", 6, 2),
        ("", 0, 0),
    ],
)
def test_tags_and_nesting_are_counted_as_the_standard_has_them(
    page: str, tags: int, depth: int
) -> None:
    counts = scan(page.encode())[0]
    assert (counts.tags, counts.depth) == (tags, depth)


@pytest.mark.parametrize(
    "piece",
    ["<div>", "<div></b>", "<span><div></span>", "<rt>", "<optgroup>", "<div><table><tr><td></div>",
     "<div></nothing>", "<svg><style>", "<b><p>", "<div></p>"],
)  # fmt: skip
def test_end_tags_that_close_nothing_hide_no_nesting(piece: str) -> None:
    assert scan(piece.encode() * 3000)[0].depth >= 3000
    assert scan(("<svg>" + "<option>" * 3000).encode())[0].depth >= 3000


def test_names_of_formatting_elements_are_counted_apart() -> None:
    names = words.names_of(words.FORMATTING) - {"a"}
    assert len({words.fnv(name) % 64 for name in names}) == len(names)


def test_a_million_nested_elements_are_counted_in_one_pass() -> None:
    assert scan(b"<div>" * 10**6)[0].depth == 10**6


def test_attributes_are_counted_by_the_tag_that_has_most() -> None:
    assert scan(b"<p a b=1 c='x y' d=\"z>\"><i e>x")[0].attributes == 4


def test_lines_know_the_words_of_the_elements_around_them() -> None:
    page = (
        '<div class="siteNav"><a href=/>Home</a></div>'
        '<div id="article-body"><p class=x>First &amp; second</p><a name=n>Third</a></div>'
        '<div role="complementary">Rail</div><footer>End</footer><noscript>no</noscript>'
        "<p hidden>Seen by none</p>"
    )
    assert told(page) == [
        ("Home", {"nav"}, 1),
        ("First & second", {"piece", "content", "box"}, 0),
        ("Third", {"piece", "content", "box"}, 0),
        ("Rail", {"side"}, 0),
        ("End", {"foot"}, 0),
        ("Seen by none", {"hidden"}, 0),
    ]


@given(
    st.lists(
        st.sampled_from(
            ["<div", ">", "<p>", "</p>", "<!--", "-->", "<script>", "</script>", "'", '"', "=", "&",
             ";", "<a href=x>", "</a>", "<svg>", "</svg>", "<td>", "<table>", "中", "<", "/"]
        )
    )
)  # fmt: skip
def test_any_soup_of_tags_is_scanned_within_its_bounds(soup: list[str]) -> None:
    page = "".join(soup).encode()
    counts, found = scan(page)
    assert counts.tags <= page.count(b"<")
    assert counts.depth <= counts.tags
    assert len(found.text) <= len(page)
    bounds = np.stack([found.starts, found.ends], 1).ravel().tolist()
    assert bounds == sorted(bounds)
    assert all(found.text[a:b].tobytes().decode().strip() for a, b in found_bounds(found))


def found_bounds(found: Lines) -> list[tuple[int, int]]:
    """Start and end of every line."""
    return list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
