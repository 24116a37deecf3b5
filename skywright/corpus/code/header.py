"""Licence headers: found at the top of a file and nowhere else, so that nothing else is lost.

RedPajama v1 strips every leading line that starts with `//`, `#` or `--` when there is no block
comment: `#include`, `#define`, shebangs and Markdown titles go with it. Here a line is a comment
only if the file's language says so, and the block goes only if it speaks of a licence.
"""

from __future__ import annotations

import re

from skywright.corpus.code.languages import Language

_LICENCE = re.compile(
    r"copyright|\(c\)\s*(?:19|20)\d\d|©|licen[cs]ed?\b|SPDX-|all rights reserved|redistribut"
    r"|warrant",
    re.IGNORECASE,
)
# (A line that does not end is none of these, and is looked at once.)
# What must stay on top: shebang, encoding, the opening of PHP, a document type.
_TOP = re.compile(
    r"(?:#!.*\n|.{0,3}-\*-.*\n|#(?=.*+\n).*coding[:=].*\n|<\?(?:php|xml)[^\n]*\n|<!DOCTYPE[^\n]*\n"
    r"|@echo off\s*\n|\s*\n)*",
    re.IGNORECASE,
)
MAX_HEADER_CHARS = 6_000
"""A longer comment is a text of its own. The whole text of the BSD licence has about 1,500
characters, the Mozilla header block of three licences about 2,000."""


def licence_header(text: str, language: Language | None) -> tuple[int, int] | None:
    """Where a licence header stands (start, end in characters, with its last line feed), or None.

    It is the first comment after what must stay on top: a block comment, or unbroken comment lines.
    """
    if language is None:
        return None
    top = _TOP.match(text)
    start = top.end() if top else 0
    end = _block_end(text, start, language) or _lines_end(text, start, language)
    if end is None or end - start > MAX_HEADER_CHARS or not _LICENCE.search(text, start, end):
        return None
    return start, end


def _block_end(text: str, start: int, language: Language) -> int | None:
    for opening, closing in language.block:
        if text.startswith(opening, start):
            end = text.find(closing, start + len(opening))
            if end < 0:
                return None
            rest = re.compile(r"[ \t]*\n?").match(text, end + len(closing))
            return rest.end() if rest else end + len(closing)
    return None


def _lines_end(text: str, start: int, language: Language) -> int | None:
    end = start
    while end < len(text):
        stop = text.find("\n", end)
        stop = len(text) if stop < 0 else stop + 1
        if not text[end:stop].lstrip().startswith(language.line or ("\0",)):
            break
        end = stop
    return end if end > start else None
