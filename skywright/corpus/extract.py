"""From a page to the text of its main content.

resiliparse does the work (rule-based, measured at 20 to 50 MB of HTML a second); this module
guards it: size and nesting are counted before parsing, because nesting costs quadratic time.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree

from skywright.corpus.charset import decode
from skywright.corpus.panics import panics_as_errors

_TAG = re.compile(rb"<(/?)([A-Za-z][A-Za-z0-9]*)")
_NOT_NESTING = frozenset(
    # Void elements, and those that the HTML standard closes by itself when the next one opens.
    b"area base br col embed hr img input link meta param source track wbr p li dt dd option "
    b"optgroup tr td th thead tbody tfoot colgroup rb rt rp html head body".split()
)


class Extracted(NamedTuple):
    """The text, or the rule that refused the page with the value that did it.

    `replaced` counts characters that the charset could not give (U+FFFD in the text).
    """

    text: str | None
    charset: str | None = None
    title: str | None = None
    replaced: int = 0
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None


def markup(data: bytes) -> tuple[int, int]:
    """Number of tags and greatest nesting of a page, counted without parsing it."""
    tags = depth = deepest = 0
    for closing, name in _TAG.findall(data):
        tags += 1
        if name.lower() in _NOT_NESTING:
            continue
        if closing:
            depth = max(depth - 1, 0)
        else:
            depth += 1
            if depth > deepest:
                deepest = depth
    return tags, deepest


def extract(
    data: bytes, http_charset: str | None, *, max_tags: int, max_depth: int, max_text_bytes: int
) -> Extracted:
    """Main content of an HTML page as plain text, paragraphs apart by empty lines.

    What is written is what stood on the page: no width, case or punctuation is touched.
    """
    page, charset, replaced = decode(data, http_charset)
    tags, deepest = markup(data if charset != "utf-16" else page.encode())
    if tags > max_tags:
        return Extracted(None, charset, rule="tags", value=tags, threshold=max_tags)
    if deepest > max_depth:
        return Extracted(None, charset, rule="depth", value=deepest, threshold=max_depth)
    with panics_as_errors():
        tree = HTMLTree.parse(page)
        text = extract_plain_text(tree, main_content=True)
        title = (tree.title or "").strip() or None
    size = len(text.encode())
    if size > max_text_bytes:
        return Extracted(None, charset, rule="text_bytes", value=size, threshold=max_text_bytes)
    return Extracted(text, charset, title, replaced)
