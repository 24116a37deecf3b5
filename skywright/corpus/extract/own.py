"""The own tier: one parse by resiliparse, then every line is kept or dropped by a trained model.

What is written are the kept lines as they stood on the page, paragraphs apart by an empty line.
"""

from __future__ import annotations

import html
import re

from resiliparse.extract.html2text import extract_plain_text

from skywright.corpus.extract.features import features
from skywright.corpus.extract.lines import Lines, joined, lines
from skywright.corpus.extract.model import Model, kept, shipped
from skywright.corpus.extract.scan import Runs
from skywright.corpus.panics import panics_as_errors

_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


def title_of(page: str) -> str | None:
    """What the page's `<title>` says, spaces collapsed; None without one."""
    found = _TITLE.search(page)
    return " ".join(html.unescape(found.group(1)).split()) or None if found else None


def page_lines(page: str) -> Lines:
    """Every line of text of a page, menus and all."""
    with panics_as_errors():
        markup = extract_plain_text(
            page, preserve_formatting="minimal_html", main_content=False, links=True,
            alt_texts=False,
        )  # fmt: skip
    return lines(markup)


def main_text(page: str, runs: Runs, title: str | None, model: Model | None = None) -> str:
    """Main content of a page that has been scanned (`runs`)."""
    found = page_lines(page)
    return joined(found, kept(features(found, runs, title), model or shipped()))
