"""What a line says by itself: its length, words, marks and links, as one row of numbers."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from skywright.corpus.extract import words
from skywright.corpus.extract.lines import Lines
from skywright.engine.compiled import compiled

_FNV = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_PRIME = np.uint64(0x100000001B3)
_SLOT = np.uint64(4095)
_TEXT = len(words.TEXT_HINTS)

LINE = (
    "tokens", "letters_per_token", "linked", "links", "stops", "commas", "ending", "digits",
    "capitals", "separators", "han", *(f"word_{name}" for name in words.TEXT_HINTS), "kind",
    "level", "breaks", "opening", "upper",
)  # fmt: skip
"""Features of a line alone."""
_COLUMNS = len(LINE)


class Measured(NamedTuple):
    """n lines by themselves.

    rows float32 (n, len(LINE)); tokens int64 (n); hashes uint64 (n) of a line's words.
    """

    rows: np.ndarray
    tokens: np.ndarray
    hashes: np.ndarray


@compiled
def _find(keys, values, h):  # type: ignore[no-untyped-def]
    slot = h & _SLOT
    while keys[slot] != 0:
        if keys[slot] == h:
            return values[slot]
        slot = (slot + np.uint64(1)) & _SLOT
    return np.int64(0)


@compiled
def _measure(  # type: ignore[no-untyped-def]
    text, starts, ends, linked, links, kind, level, breaks, keys, masks, hints, columns,
):  # fmt: skip
    """The parts of `Measured`."""
    n = len(starts)
    rows = np.zeros((n, columns), np.float32)
    token_counts = np.zeros(n, np.int64)
    hashes = np.zeros(n, np.uint64)
    seen = np.zeros(hints, np.int64)
    for i in range(n):
        at = starts[i]
        end = ends[i]
        seen[:] = 0
        tokens = 0
        latin = 0  # words in an alphabet
        small = 0
        big = 0
        capitals = 0
        digits = 0
        han = 0
        other = 0  # letters of other alphabets
        stops = 0
        commas = 0
        separators = 0
        ending = 0
        opening = -1
        h = _FNV
        length = 0
        previous_han = False
        han_state = _FNV
        line_hash = _FNV
        while at <= end:
            byte = text[at] if at < end else np.uint8(32)
            size = 1
            in_word = False
            is_han = False
            what = 0  # 1 stop, 2 comma, 3 separator, 4 colon, 5 opening quote, 6 closing quote
            if byte < 0x80:
                low = byte | 32
                if low >= 97 and low <= 122:
                    in_word = True
                    if byte == low:
                        small += 1
                    else:
                        big += 1
                        if length == 0:
                            capitals += 1
                elif byte >= 48 and byte <= 57:
                    in_word = True
                    digits += 1
                elif byte == 46 or byte == 33 or byte == 63:
                    follows = text[at + 1] if at + 1 < end else np.uint8(32)
                    if byte != 46 or follows in (32, 34, 39, 41, 0xE2, 9, 10, 91):
                        what = 1
                elif byte == 44 or byte == 59:
                    what = 2
                elif byte in (124, 47, 62, 60, 95, 35, 43, 61, 42):
                    what = 3
                elif byte == 58:
                    what = 4
                elif byte == 34 or byte == 39 or byte == 41:
                    what = 6
            elif byte < 0xE0:
                size = 2
                if byte >= 0xC3:
                    in_word = True
                    other += 1
                elif byte == 0xC2 and text[at + 1] in (0xB7, 0xBB, 0xAB, 0xA9, 0xAE):
                    what = 3
            elif byte < 0xF0:
                size = 3
                second = text[at + 1]
                third = text[at + 2]
                if byte == 0xE2:
                    if second == 0x80:
                        if third == 0xA6:
                            what = 1
                        elif third in (0x9C, 0x98):
                            what = 5
                        elif third in (0x9D, 0x99):
                            what = 6
                        elif third in (0xA2, 0xBA, 0xB9):
                            what = 3
                elif byte == 0xE3 and second == 0x80:
                    if third == 0x82:
                        what = 1
                    elif third == 0x81:
                        what = 2
                    elif third in (0x8C, 0x8A, 0x90):
                        what = 5
                    elif third in (0x8D, 0x8B, 0x91):
                        what = 6
                elif byte == 0xEF and second == 0xBC:
                    if third in (0x81, 0x9F):
                        what = 1
                    elif third in (0x8C, 0x9B):
                        what = 2
                    elif third == 0x9A:
                        what = 4
                    elif third == 0x89:
                        what = 6
                    elif third == 0x8F or third == 0x9E:
                        what = 3
                elif byte == 0xEF and second == 0xBD:
                    what = 3 if third == 0x9C else 0
                elif byte >= 0xE3:
                    is_han = True
                else:
                    in_word = True
                    other += 1
            else:
                size = 4
                is_han = True
            if opening < 0 and at < end and byte > 32:
                if is_han:
                    opening = 4
                elif byte >= 97 and byte <= 122:
                    opening = 2
                elif byte >= 65 and byte <= 90:
                    opening = 1
                elif byte >= 48 and byte <= 57:
                    opening = 3
                elif what == 5 or what == 6:
                    opening = 5
                else:
                    opening = 0
            if in_word:
                for k in range(at, at + size):
                    c = text[k]
                    h = (h ^ np.uint64(c | 32 if c >= 65 and c <= 90 else c)) * _PRIME
                length += 1
            elif length > 0:
                mask = _find(keys, masks, h)
                line_hash = (line_hash ^ h) * _PRIME
                for k in range(hints):
                    seen[k] += (mask >> k) & 1
                tokens += 1
                latin += 1
                h = _FNV
                length = 0
            if is_han:
                single = _FNV
                pair = han_state
                for k in range(at, min(at + size, end)):
                    single = (single ^ np.uint64(text[k])) * _PRIME
                    pair = (pair ^ np.uint64(text[k])) * _PRIME
                mask = _find(keys, masks, single)
                if previous_han:
                    mask |= _find(keys, masks, pair)
                line_hash = (line_hash ^ single) * _PRIME
                for k in range(hints):
                    seen[k] += (mask >> k) & 1
                tokens += 1
                han += 1
                han_state = single
            previous_han = is_han
            if what == 1:
                stops += 1
            elif what == 2:
                commas += 1
            elif what == 3:
                separators += 1
            if at < end:
                if what == 1:
                    ending = 1
                elif what == 2 or what == 4:
                    ending = 2
                elif what == 3:
                    ending = 3
                elif in_word or is_han:
                    ending = 0
                elif what == 6 and ending != 1:
                    ending = 4
            at += size
        token_counts[i] = tokens
        hashes[i] = line_hash
        alphabet = small + big + other
        per = np.float32(1.0 / max(tokens, 1))
        row = rows[i]
        row[0] = np.log2(1.0 + tokens)
        row[1] = (alphabet + digits) * np.float32(1.0 / max(latin, 1))
        row[2] = min(linked[i] / max(end - starts[i], 1), 1.0)
        row[3] = min(links[i], 20)
        row[4] = stops * per
        row[5] = commas * per
        row[6] = ending
        row[7] = digits * np.float32(1.0 / max(alphabet + digits + han, 1))
        row[8] = capitals * np.float32(1.0 / max(latin, 1))
        row[9] = separators * per
        row[10] = han * per
        row[11] = seen[0] * per
        for k in range(1, hints):
            row[11 + k] = min(seen[k], 4)
        row[11 + hints] = kind[i]
        row[11 + hints + 1] = level[i]
        row[11 + hints + 2] = breaks[i]
        row[11 + hints + 3] = opening
        row[11 + hints + 4] = big * np.float32(1.0 / max(alphabet, 1))
    return rows, token_counts, hashes


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    return words.text_table()


def measure(lines: Lines) -> Measured:
    """Measure every line of a page."""
    columns = (lines.linked, lines.links, lines.kind, lines.level, lines.breaks)
    return Measured(
        *_measure(lines.text, lines.starts, lines.ends, *columns, *_table(), _TEXT, _COLUMNS)
    )
