"""Compiled signals of a chunk of documents: characters, lines and repeated n-grams."""

from __future__ import annotations

import numpy as np

from skywright.corpus import fold
from skywright.engine.compiled import compiled

_SPACE, _NEWLINE, _TERMINAL, _BULLET = fold.SPACE, fold.NEWLINE, fold.TERMINAL, fold.BULLET
_HAN, _KANA, _HANGUL, _LATIN = fold.HAN, fold.KANA, fold.HANGUL, fold.LATIN
_LETTER, _NUMBER, _DIGIT = fold.LETTER, fold.NUMBER, fold.DIGIT
_ZH_STOP, _UI_END = fold.ZH_STOP, fold.UI_END

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd; any constant of well-mixed bits does
_32 = np.uint64(32)

_DOT, _FULL_STOP, _ELLIPSIS, _HASH = 0x2E, 0x3002, 0x2026, 0x23
_OPEN, _CLOSE = 0x3010, 0x3011  # 【 】

ENTROPY_CHARS = 10_000  # data: entropy on the first 10,000 characters
SHORT_LINE_CHARS = 30  # FineWeb: a short line has at most 30 characters

# Columns of the integer results, in order; signals.py turns them into signals.
COUNTS = (
    "view_chars", "solid_chars", "newlines", "lines", "line_chars", "max_line_chars",
    "bullet_lines", "ellipsis_lines", "terminal_lines", "short_lines", "ui_lines",
    "dup_lines", "dup_line_chars", "hashes", "ellipses", "bracket_chars",
    "han", "kana", "hangul", "latin", "word_chars", "digits", "en_stop", "zh_stop",
    "token_chars", "top_2", "top_3", "top_4",
    "dup_5", "dup_6", "dup_7", "dup_8", "dup_9", "dup_10",
)  # fmt: skip
(
    _I_VIEW, _I_SOLID, _I_NEWLINES, _I_LINES, _I_LINE_CHARS, _I_MAX_LINE,
    _I_BULLET, _I_ELLIPSIS_LINES, _I_TERMINAL, _I_SHORT, _I_UI,
    _I_DUP_LINES, _I_DUP_LINE_CHARS, _I_HASHES, _I_ELLIPSES, _I_BRACKET,
    _I_HAN, _I_KANA, _I_HANGUL, _I_LATIN, _I_WORD, _I_DIGITS, _I_EN_STOP, _I_ZH_STOP,
    _I_TOKEN_CHARS, _I_TOP_2, _, _,
    _I_DUP_5, _, _, _, _, _,
) = range(len(COUNTS))  # fmt: skip


@compiled
def _is_new(keys, stamps, mask, stamp, key):  # type: ignore[no-untyped-def]
    """(slot of `key`, whether it was free). Entries of another stamp count as free."""
    slot = ((key ^ (key >> _32)) * _GOLDEN >> _32) & mask
    while stamps[slot] == stamp and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    if stamps[slot] == stamp:
        return slot, False
    stamps[slot] = stamp
    keys[slot] = key
    return slot, True


@compiled
def _mask(items):  # type: ignore[no-untyped-def]
    """Mask of a table of at least 2 (items + 1) slots, as small as can be: it stays in cache."""
    slots = 4
    while slots < 2 * (items + 1):
        slots *= 2
    return np.uint64(slots - 1)


@compiled
def _power(n):  # type: ignore[no-untyped-def]
    result = np.uint64(1)
    for _ in range(n):
        result *= _BASE
    return result


@compiled
def _top_ngram_chars(prefix, ends, n, keys, stamps, counts, mask, stamp):  # type: ignore[no-untyped-def]
    """Count times characters of the most frequent n-gram (the longest of those), 0 if none repeats.

    prefix[i], ends[i]: hash and characters of the first i tokens. Occurrences may overlap.
    """
    factor = _power(n)
    best_count = 1
    best_chars = 0
    for i in range(len(prefix) - n):
        slot, new = _is_new(keys, stamps, mask, stamp, prefix[i + n] - prefix[i] * factor)
        if new:
            counts[slot] = 1
            continue
        counts[slot] += 1
        if counts[slot] > best_count:
            best_count = counts[slot]
            best_chars = ends[i + n] - ends[i]
        elif counts[slot] == best_count:
            best_chars = max(best_chars, ends[i + n] - ends[i])
    return best_count * best_chars


@compiled
def _dup_ngram_chars(prefix, ends, n, keys, stamps, mask, stamp):  # type: ignore[no-untyped-def]
    """Characters in repeated n-grams by datatrove's greedy scan.

    From left to right: an n-gram seen before adds its characters and the scan jumps over it; a new
    one is remembered and the scan goes on by one token.
    """
    factor = _power(n)
    total = 0
    i = 0
    while i < len(prefix) - n:
        _, new = _is_new(keys, stamps, mask, stamp, prefix[i + n] - prefix[i] * factor)
        if new:
            i += 1
        else:
            total += ends[i + n] - ends[i]
            i += n
    return total


@compiled
def _ends_ui_phrase(codes, begin, i, phrases, phrase_chars):  # type: ignore[no-untyped-def]
    """Whether one of the phrases (rows of code points) ends at codes[i]."""
    for row in range(len(phrases)):
        n = phrase_chars[row]
        if phrases[row, n - 1] != codes[i] or i - n + 1 < begin:
            continue
        same = True
        for k in range(n):
            same = same and codes[i - n + 1 + k] == phrases[row, k]
        if same:
            return True
    return False


@compiled
def _characters(codes, kinds, zh_stop, histogram, touched, out):  # type: ignore[no-untyped-def]
    """Counts that do not depend on lines; returns the entropy in nats of the first characters."""
    stop_seen = np.uint64(0)
    run = 0
    last = np.uint32(0)
    opened = -1  # solid characters before an open 【 on this line
    solid = 0
    distinct = 0
    for i in range(len(codes)):
        code = codes[i]
        kind = kinds[i]
        run = run + 1 if code == last else 1
        last = code
        if kind & (_SPACE | _NEWLINE):
            if kind & _NEWLINE:
                opened = -1
            continue
        solid += 1
        if solid <= ENTROPY_CHARS:
            if histogram[code] == 0:
                touched[distinct] = code
                distinct += 1
            histogram[code] += 1
        if kind & (_LETTER | _NUMBER):
            out[_I_WORD] += 1
            out[_I_DIGITS] += kind & _DIGIT != 0
            out[_I_HAN] += kind & _HAN != 0
            out[_I_LATIN] += kind & _LATIN != 0
            out[_I_KANA] += kind & _KANA != 0
            out[_I_HANGUL] += kind & _HANGUL != 0
            if kind & _ZH_STOP:
                for k in range(len(zh_stop)):
                    if zh_stop[k] == code:
                        stop_seen |= np.uint64(1) << np.uint64(k)
        elif code == _HASH:
            out[_I_HASHES] += 1
        elif code in (_DOT, _FULL_STOP):
            out[_I_ELLIPSES] += run == 3
        elif code == _ELLIPSIS:
            out[_I_ELLIPSES] += run == 1
        elif code == _OPEN:
            opened = solid - 1 if opened < 0 else opened
        elif code == _CLOSE and opened >= 0:
            out[_I_BRACKET] += solid - opened
            opened = -1
    out[_I_SOLID] = solid
    while stop_seen:
        stop_seen &= stop_seen - np.uint64(1)
        out[_I_ZH_STOP] += 1
    counted = min(solid, ENTROPY_CHARS)
    entropy = 0.0
    for k in range(distinct):
        share = histogram[touched[k]] / counted
        entropy -= share * np.log(share)
        histogram[touched[k]] = 0
    return max(entropy, 0.0)


@compiled
def _close_line(codes, first, last, chars, h, keys, stamps, mask, stamp, out):  # type: ignore[no-untyped-def]
    """Count a line whose first and last characters that are no space stand at `first`, `last`."""
    out[_I_LINES] += 1
    out[_I_LINE_CHARS] += chars
    out[_I_MAX_LINE] = max(out[_I_MAX_LINE], chars)
    out[_I_SHORT] += chars <= SHORT_LINE_CHARS
    code = codes[last]
    out[_I_ELLIPSIS_LINES] += code == _ELLIPSIS or (
        code in (_DOT, _FULL_STOP)
        and last - first >= 2
        and codes[last - 1] == code
        and codes[last - 2] == code
    )
    _, new = _is_new(keys, stamps, mask, stamp, h)
    if not new:
        out[_I_DUP_LINES] += 1
        out[_I_DUP_LINE_CHARS] += chars


@compiled
def _lines(codes, kinds, phrases, phrase_chars, keys, stamps, mask, stamp, out):  # type: ignore[no-untyped-def]
    """Counts over the lines that are not blank; runs of space inside a line count as one."""
    first = -1
    last = -1
    chars = 0
    h = _GOLDEN
    ui = False
    for i in range(len(codes) + 1):
        at_end = i == len(codes)
        if at_end or kinds[i] & _NEWLINE:
            out[_I_NEWLINES] += not at_end
            if first >= 0:
                _close_line(codes, first, last, chars, h, keys, stamps, mask, stamp, out)
                out[_I_TERMINAL] += kinds[last] & _TERMINAL != 0
                out[_I_BULLET] += kinds[first] & _BULLET != 0
                out[_I_UI] += ui and chars <= SHORT_LINE_CHARS
                first = -1
                chars = 0
                h = _GOLDEN
                ui = False
        elif kinds[i] & _SPACE == 0:
            if first < 0:
                first = i
            elif last != i - 1:
                h = (h ^ np.uint64(0x20)) * _GOLDEN
                chars += 1
            last = i
            h = (h ^ np.uint64(codes[i])) * _GOLDEN
            chars += 1
            if kinds[i] & _UI_END and not ui:
                ui = _ends_ui_phrase(codes, first, i, phrases, phrase_chars)


@compiled
def measure_chunk(  # type: ignore[no-untyped-def]
    codes, kinds, view_offsets, hashes, lengths, token_offsets,
    en_stop, zh_stop, phrases, phrase_chars,
):  # fmt: skip
    """Counts int64 (documents, len(COUNTS)) and character entropies float64 (documents) of a chunk.

    en_stop uint64 (8): token hashes; zh_stop uint32: code points; phrases uint32 (p, longest),
    phrase_chars int64 (p): the phrases of page furniture.
    """
    documents = len(view_offsets) - 1
    counts = np.zeros((documents, len(COUNTS)), np.int64)
    entropy = np.zeros(documents, np.float64)
    longest = 0
    most_tokens = 0
    for d in range(documents):
        longest = max(longest, view_offsets[d + 1] - view_offsets[d])
        most_tokens = max(most_tokens, token_offsets[d + 1] - token_offsets[d])
    slots = np.int64(_mask(longest)) + 1
    keys = np.empty(slots, np.uint64)
    stamps = np.zeros(slots, np.int64)
    repeats = np.empty(slots, np.int64)
    prefix = np.zeros(most_tokens + 1, np.uint64)
    ends = np.zeros(most_tokens + 1, np.int64)
    histogram = np.zeros(0x110000, np.int32)
    touched = np.empty(ENTROPY_CHARS, np.uint32)
    stamp = 0
    for d in range(documents):
        out = counts[d]
        document_codes = codes[view_offsets[d] : view_offsets[d + 1]]
        document_kinds = kinds[view_offsets[d] : view_offsets[d + 1]]
        out[_I_VIEW] = len(document_codes)
        entropy[d] = _characters(document_codes, document_kinds, zh_stop, histogram, touched, out)
        stamp += 1
        _lines(
            document_codes, document_kinds, phrases, phrase_chars,
            keys, stamps, _mask(len(document_codes)), stamp, out,
        )  # fmt: skip
        tokens = token_offsets[d + 1] - token_offsets[d]
        stop_seen = np.zeros(len(en_stop), np.bool_)
        for i in range(tokens):
            h = hashes[token_offsets[d] + i]
            length = lengths[token_offsets[d] + i]
            prefix[i + 1] = prefix[i] * _BASE + h
            ends[i + 1] = ends[i] + length
            if length >= 2 and length <= 4:  # as long as the stop words are
                for k in range(len(en_stop)):
                    stop_seen[k] |= h == en_stop[k]
        out[_I_EN_STOP] = stop_seen.sum()
        out[_I_TOKEN_CHARS] = ends[tokens]
        mask = _mask(tokens)
        # Where no n-gram repeats, no longer one does: the rest of the columns stays 0.
        for n in range(2, 5):
            if n > 2 and out[_I_TOP_2 + n - 3] == 0:
                break
            stamp += 1
            out[_I_TOP_2 + n - 2] = _top_ngram_chars(
                prefix[: tokens + 1], ends, n, keys, stamps, repeats, mask, stamp
            )
        for n in range(5, 11):
            if out[_I_TOP_2 + 2 if n == 5 else _I_DUP_5 + n - 6] == 0:
                break
            stamp += 1
            out[_I_DUP_5 + n - 5] = _dup_ngram_chars(
                prefix[: tokens + 1], ends, n, keys, stamps, mask, stamp
            )
    return counts, entropy
