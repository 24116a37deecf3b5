"""From a page to the text of its main content.

Three tiers: `own` (the default: a line model trained for this), `fast`
(resiliparse's own rules) and `precise` (trafilatura, an extra). All are guarded by the same counts,
taken first, because nesting and attributes cost parsers quadratic time.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import NamedTuple

from resiliparse.extract.html2text import extract_plain_text

from skywright.corpus.charset import decode
from skywright.corpus.config import ExtractionConfig, LimitsConfig
from skywright.corpus.extract import own, precise
from skywright.corpus.extract.scan import scan
from skywright.corpus.panics import panics_as_errors

__all__ = ["Extracted", "extract"]


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


def extract(
    data: bytes,
    http_charset: str | None,
    limits: LimitsConfig,
    extraction: ExtractionConfig,
) -> Extracted:
    """Main content of an HTML page as plain text, paragraphs apart by empty lines.

    What is written is what stood on the page: no width, case or punctuation is touched.
    """
    page, charset, replaced = decode(data, http_charset)
    valid = charset in ("utf-8", "ascii") and not replaced and not data.startswith(BOM_UTF8)
    counts, found = scan(data if valid else page.encode())
    for rule, value, most in (
        ("tags", counts.tags, limits.max_tags),
        ("depth", counts.depth, limits.max_depth),
        ("attributes", counts.attributes, limits.max_attributes),
        ("lines", len(found.starts), limits.max_tags),  # preformatted text needs no tags for them
    ):
        if value > most:
            return Extracted(None, charset, rule=rule, value=value, threshold=most)
    title = own.title_of(page)
    if extraction.tier == "own":
        text = own.main_text(found, title)
    elif extraction.tier == "fast":
        with panics_as_errors():
            text = extract_plain_text(page, main_content=True)
    else:
        seconds = extraction.precise_timeout_s
        try:
            text = precise.worker(seconds, extraction.precise_pages_a_worker).text(page)
        except precise.TimedOutError:
            return Extracted(None, charset, rule="timeout", value=seconds, threshold=seconds)
    size = len(text.encode())
    if size > limits.max_text_bytes:
        return Extracted(
            None, charset, rule="text_bytes", value=size, threshold=limits.max_text_bytes
        )
    return Extracted(text, charset, title, replaced)
