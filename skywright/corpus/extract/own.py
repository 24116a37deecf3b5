"""The own tier: a page is cut into lines in one pass, and a trained model keeps or drops each.

What is written are the kept lines as they stood on the page, paragraphs apart by an empty line.
"""

from __future__ import annotations

import html
import re

from skywright.corpus.extract.features import features
from skywright.corpus.extract.lines import Lines, joined
from skywright.corpus.extract.model import Model, kept, shipped
from skywright.corpus.extract.scan import scan

_TITLE = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)


def title_of(page: str) -> str | None:
    """What the page's `<title>` says, spaces collapsed; None without one."""
    found = _TITLE.search(page)
    return " ".join(html.unescape(found.group(1)).split()) or None if found else None


def page_lines(page: str) -> Lines:
    """Every line of text of a page, menus and all."""
    return scan(page.encode("utf-8", "replace"))[1]


def main_text(found: Lines, title: str | None, model: Model | None = None) -> str:
    """Main content of a page, given its lines."""
    return joined(found, kept(features(found, title), model or shipped()))
