"""Lines of a page: every character of the page and none but those, markup undone exactly."""

from __future__ import annotations

import html
import re
from collections import Counter
from html.entities import html5

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from resiliparse.extract.html2text import extract_plain_text

from skywright.corpus.charset import decode
from skywright.corpus.extract.lines import (
    HEADING,
    ITEM,
    PARAGRAPH,
    PREFORMATTED,
    Lines,
    joined,
)
from skywright.corpus.extract.own import page_lines, title_of
from skywright.corpus.sources.warc import read_warc_file
from tests.corpus.pages import DATA, needs_data


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


def test_named_and_numbered_characters_are_those_of_the_standard() -> None:
    pieces = [f"&{name}" for name in html5] + ["&#0;", "&#x80;", "&#150", "&#xD800;", "&#1114112;"]
    pieces += ["&copyright", "&notit;", "&notin;", "&nosuch;", "&", "&;", "&#;", "&#x;", "&#x41g"]
    page = "".join(f"<p>x{piece} y</p>" for piece in pieces)
    assert texts(page_lines(page)) == [
        " ".join(re.split(r"[ \t\n]+", html.unescape(f"x{piece} y"))) for piece in pieces
    ]


def test_what_is_not_shown_is_no_line() -> None:
    page = (
        "<head><title>t</title><style>s</style></head>a<script>b</script><!-- c --> d"
        "<noscript>e</noscript><figure>f<figcaption>g</figcaption></figure><select><option>h"
        "</select>i <svg><text>j</text></svg>k<textarea>l</textarea>"
    )
    assert texts(page_lines(page)) == ["a d", "i k"]


def test_cells_stand_in_one_line_and_rows_in_lines_of_their_own() -> None:
    page = "<table><caption>C</caption><tr><th>a<th> b<tr><td>1</td> <td>2 <b>3</b></td></table>"
    assert texts(page_lines(page)) == ["C", "a\t\tb", "1\t\t2 3"]


def test_a_link_that_a_block_outlives_ends_where_its_tag_does() -> None:
    found = page_lines("<a href=x><div>in</a> out</div><p>far</p><a href=y>two <a href=z>links</a>")
    assert texts(found) == ["in out", "far", "two links"]
    assert found.linked.tolist() == [2, 0, 8]
    assert found.links.tolist() == [1, 0, 2]
    assert found.in_link.tolist() == [1, 0, 1]


@needs_data
def test_lines_of_real_pages_are_those_of_a_parser() -> None:
    """resiliparse's minimal HTML as the reference, which shows the titles of some heads too."""
    same = total = 0
    for record in read_warc_file(DATA / "warc" / "demo_web_pages.warc.gz", "s", 8 << 20):
        if record.content_type != "text/html" or not record.payload:
            continue
        page = decode(record.payload, record.charset).text
        markup = extract_plain_text(
            page, preserve_formatting="minimal_html", main_content=False, links=True,
            alt_texts=False,
        )  # fmt: skip
        shown = re.split(r"\n|<[^>]*>", re.sub(r'<a href="[^"]*">|</a>', "", markup))
        theirs = Counter("".join(html.unescape(line).split()) for line in shown)
        ours = Counter("".join(line.split()) for line in texts(page_lines(page)))
        del theirs[""]
        same += (theirs & ours).total()
        total += max(theirs.total(), ours.total())
    assert same > 0.999 * total > 5_000


def test_dropped_lines_leave_paragraphs_apart() -> None:
    found = page_lines("<p>One</p><p>menu</p>two<br>three")
    assert joined(found, np.array([True, False, True, True])) == "One\n\ntwo\nthree"
    assert joined(found, np.zeros(4, bool)) == ""


def test_titles_are_read_as_they_are_shown() -> None:
    assert title_of("<title lang=en> A &amp;\n B </title>") == "A & B"
    assert title_of("<p>none</p>") is None
