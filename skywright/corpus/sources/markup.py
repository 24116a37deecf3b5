"""Records that carry text with markup, as plain text."""

from __future__ import annotations

from skywright.corpus.charset import decode
from skywright.corpus.sources import latex, wikitext

VERSION = "markup/v3"
"""Part of the key of texts made here; raised when LaTeX or wikitext becomes another text."""


def text_of(form: str, payload: bytes) -> str:
    """The text of a record by its `form`: "text", "wikitext" or "latex"."""
    if form == "wikitext":
        return wikitext.plain_text(payload.decode())
    if form == "latex":
        return latex.plain_text(decode(payload, None).text)
    return payload.decode()
