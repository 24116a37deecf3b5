"""The measure view: what a code point counts as when text is measured, never when it is written.

`fold/v1` maps every code point to one code point: NFKC where that gives a single code point
(full-width and half-width forms, compatibility ideographs), then lower case where that gives a
single one. Code points that NFKC would spread over several (`…`, ligatures) stay as they are,
nothing is composed or decomposed across code points, and traditional characters stay traditional.

`class/v2` is a set of flags for a folded code point (UPPER and TRAIL are those of a raw one). Both
tables follow the Unicode version of the running Python, which is therefore part of `VERSION`.
"""

from __future__ import annotations

import sys
import unicodedata
from functools import cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus.hanzi import traditional_only
from skywright.errors import UserError

VERSION = f"fold/v1 unicode/{unicodedata.unidata_version}"

CODE_POINTS = sys.maxunicode + 1  # 0x110000

# Flags of class/v2. "Word" characters are letters and numbers; a mark continues a word.
HAN = 1
KANA = 1 << 1
HANGUL = 1 << 2
LATIN = 1 << 3
LETTER = 1 << 4  # general category L, Han included
NUMBER = 1 << 5  # general category N
DIGIT = 1 << 6  # general category Nd
MARK = 1 << 7  # general category M
SPACE = 1 << 8  # white space inside a line
NEWLINE = 1 << 9  # ends a line: \n, U+2028, U+2029
TERMINAL = 1 << 10  # may end a sentence
BULLET = 1 << 11  # opens a list item
IGNORED = 1 << 12  # format characters (Cf): they are no part of the view
ZH_STOP = 1 << 13  # in ZH_STOP_CHARS
COMMON = 1 << 14  # in COMMON_CHARS
TRAIL = 1 << 15  # raw code point that a UTF-8 continuation byte becomes in Latin-1 or cp1252
UPPER = 1 << 16  # raw code point that is an upper-case or title-case letter (Lu, Lt)
TRADITIONAL = 1 << 17  # a common character that only traditional text writes
SENTENCE = 1 << 18  # may end a sentence: . ! ? 。 …
TECHNICAL = 1 << 19  # one of MADLAD-400's technical characters (arXiv 2309.04662, rule 4)
SEPARATOR = 1 << 20  # stands between the items of a list: | _ - 、
COUNTED = 1 << 21  # a sign that signals count or pair: # { < > 【 】 《 》

# data: C4's set (. ! ? ") with datatrove's additions and the Chinese and Japanese ones. Full-width
# ！？）； fold to ASCII; the closing quotation marks and brackets may follow the full stop.
TERMINAL_CHARS = ".!?\"'”’。…」』》);"
# MAP-NEO's bullets, Gopher's • and -, Dolma's * and -, and four more of the same look (◦‣⁃►).
BULLET_CHARS = "•●○◦■□▪▫※·➢‣⁃►-*"
# FineWeb-2, cmn_Hani.yml, without its middle dot (punctuation is no token here).
ZH_STOP_CHARS = "的年在月是和日了於為有被人中为他與後也而由"
# data 5.8, z16: a Chinese text of any length has two of these; our own proposal.
COMMON_CHARS = "的了是在和有我不人这這"
SENTENCE_CHARS = ".!?。…"
TECHNICAL_CHARS = "0123456789{}+/()>"
SEPARATOR_CHARS = "|_-、"
COUNTED_CHARS = "#{<>【】《》"

_HAN_RANGES = (
    (0x3005, 0x3005),  # 々
    (0x3007, 0x3007),  # 〇
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_KANA_RANGES = ((0x3041, 0x309F), (0x30A0, 0x30FF), (0x31F0, 0x31FF), (0x1B000, 0x1B16F))
_HANGUL_RANGES = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
# Wholly letters that fold to themselves: no need to ask unicodedata about each. The ends are those
# of Unicode 14; later characters of the same blocks are asked one by one.
_UNIFORM_LETTERS = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFC), (0xAC00, 0xD7A3), (0x17000, 0x187F7),
    (0x20000, 0x2A6DD), (0x2A700, 0x2B734), (0x2B820, 0x2CEA1), (0x2CEB0, 0x2EBE0),
    (0x30000, 0x3134A),
)  # fmt: skip
# Surrogates, private use and planes without characters: they fold to themselves, without class.
_EMPTY = ((0xD800, 0xF8FF), (0x323B0, 0xE0000), (0xE01F0, 0x10FFFF))
# What the bytes 0x80..0x9F become under cp1252.
_CP1252 = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"


class Tables(NamedTuple):
    """`fold` and `classes`, both uint32 of length 0x110000."""

    fold: np.ndarray
    classes: np.ndarray


def fold_char(char: str) -> str:
    """fold/v1 of one code point."""
    wide = unicodedata.normalize("NFKC", char)
    if len(wide) != 1:
        wide = char
    lower = wide.lower()
    return lower if len(lower) == 1 else wide


def _asked() -> np.ndarray:
    """True for the code points whose properties must be looked up one by one."""
    asked = np.ones(CODE_POINTS, dtype=bool)
    for first, last in (*_UNIFORM_LETTERS, *_EMPTY):
        asked[first : last + 1] = False
    return asked


def _category_class(char: str, category: str) -> int:
    if category[0] == "L":
        return LETTER | (UPPER if category in ("Lu", "Lt") else 0)
    if category[0] == "N":
        return NUMBER | (DIGIT if category == "Nd" else 0)
    if category[0] == "M":
        return MARK
    if category == "Cf":
        return IGNORED
    if char == "\n" or category in ("Zl", "Zp"):
        return NEWLINE
    return SPACE if char.isspace() else 0


@cache
def tables() -> Tables:
    """The two tables, built on first use (about a tenth of a second) and read-only."""
    fold = np.arange(CODE_POINTS, dtype=np.uint32)
    classes = np.zeros(CODE_POINTS, dtype=np.uint32)
    for first, last in _UNIFORM_LETTERS:
        classes[first : last + 1] = LETTER
    for code in np.flatnonzero(_asked()).tolist():
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Cn":
            continue
        fold[code] = ord(fold_char(char))
        classes[code] = _category_class(char, category)
        if classes[code] & LETTER and unicodedata.name(char, "").startswith("LATIN"):
            classes[code] |= LATIN
    for flag, ranges in ((HAN, _HAN_RANGES), (KANA, _KANA_RANGES), (HANGUL, _HANGUL_RANGES)):
        for first, last in ranges:
            block = classes[first : last + 1]
            block[(block & (LETTER | NUMBER)) != 0] |= flag
    for flag, chars in (
        (TERMINAL, TERMINAL_CHARS),
        (BULLET, BULLET_CHARS),
        (ZH_STOP, ZH_STOP_CHARS),
        (COMMON, COMMON_CHARS),
        (SENTENCE, SENTENCE_CHARS),
        (TECHNICAL, TECHNICAL_CHARS),
        (SEPARATOR, SEPARATOR_CHARS),
        (COUNTED, COUNTED_CHARS),
        (TRADITIONAL, traditional_only()),
        (TRAIL, _CP1252 + "".join(map(chr, range(0x80, 0xC0)))),
    ):
        for char in chars:
            classes[ord(char)] |= flag
    fold.flags.writeable = False
    classes.flags.writeable = False
    return Tables(fold, classes)


def utf8_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Arrow text as (offsets int64 of n + 1, data uint8), the data without a copy.

    Takes string and large_string, chunked (joined) or sliced. Raises `UserError` for another type
    and for a null, naming its row.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks() if texts.num_chunks != 1 else texts.chunk(0)
    if pa.types.is_string_view(texts.type):
        texts = texts.cast(pa.large_string())
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        raise UserError(f"texts: expected a column of strings, got {texts.type}; cast it first")
    if texts.null_count:
        row = int(np.flatnonzero(texts.is_null().to_numpy(zero_copy_only=False))[0])
        raise UserError(f"row {row}, field text: is null; drop such rows before measuring")
    _, offsets_buffer, data_buffer = texts.buffers()
    if len(texts) == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    width = np.int32 if pa.types.is_string(texts.type) else np.int64
    offsets = np.frombuffer(offsets_buffer, dtype=width)[texts.offset :][: len(texts) + 1]
    data = (
        np.frombuffer(data_buffer, dtype=np.uint8) if data_buffer else np.zeros(0, dtype=np.uint8)
    )
    return offsets.astype(np.int64), data
