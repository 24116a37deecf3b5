"""Compiled readers of Arrow's UTF-8 buffers: bytes to the measure view, the view to tokens.

Documents go through in chunks of about a mebibyte, so that the arrays of a chunk stay in cache
and memory does not grow with the column. No Python string is made. One thread, without the GIL.

Compiled functions call only compiled functions of their own file, and files meet in arrays
(see `skywright.engine.compiled`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus import fold
from skywright.engine.compiled import compiled

TOKENS_VERSION = f"mixed-tokens/v1 {fold.VERSION}"
CHUNK_BYTES = 1 << 20  # measured: from 256 KiB to 4 MiB the speed is the same

_HAN, _LETTER, _NUMBER, _MARK = fold.HAN, fold.LETTER, fold.NUMBER, fold.MARK
_NEWLINE, _IGNORED, _TRAIL, _UPPER = fold.NEWLINE, fold.IGNORED, fold.TRAIL, fold.UPPER

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_33 = np.uint64(33)

_KUN, _JIN, _KAO = 0x951F, 0x65A4, 0x62F7  # 锟斤拷: U+FFFD in UTF-8 read as GBK
_TANG, _TUN = 0x70EB, 0x5C6F  # 烫, 屯: uninitialised memory (0xCC, 0xCD) read as GBK


class Views(NamedTuple):
    """Measure views of n documents, one after another.

    codes and kinds (classes, with UPPER of the raw character), both uint32, of every character;
    offsets int64 (n + 1) into them; chars int64 (n): raw code points; mojibake_chars int64 (n).
    """

    codes: np.ndarray
    kinds: np.ndarray
    offsets: np.ndarray
    chars: np.ndarray
    mojibake_chars: np.ndarray


class Tokens(NamedTuple):
    """Mixed tokens of n documents: hashes uint64, chars int32 (length), offsets int64 (n + 1).

    with_letter int64 (n): tokens that have at least one letter.
    """

    hashes: np.ndarray
    chars: np.ndarray
    offsets: np.ndarray
    with_letter: np.ndarray


@compiled
def _decode(data, at, end):  # type: ignore[no-untyped-def]
    """(code point, next position). A byte that is not valid UTF-8 here is U+FFFD, one by one."""
    first = data[at]
    if first < 0x80:
        return np.uint32(first), at + 1
    if first >= 0xC2 and first < 0xE0:
        length, code = 2, np.uint32(first & 0x1F)
    elif first >= 0xE0 and first < 0xF0:
        length, code = 3, np.uint32(first & 0x0F)
    elif first >= 0xF0 and first < 0xF5:
        length, code = 4, np.uint32(first & 0x07)
    else:
        return np.uint32(0xFFFD), at + 1
    if at + length > end:
        return np.uint32(0xFFFD), at + 1
    for i in range(at + 1, at + length):
        byte = data[i]
        if byte & 0xC0 != 0x80:
            return np.uint32(0xFFFD), at + 1
        code = (code << np.uint32(6)) | np.uint32(byte & 0x3F)
    if (
        (length == 3 and code < 0x800)
        or (length == 4 and code < 0x10000)
        or code > 0x10FFFF
        or (code >= 0xD800 and code < 0xE000)
    ):
        return np.uint32(0xFFFD), at + 1
    return code, at + length


@compiled
def _read_view(data, begin, end, fold_table, class_table, codes, kinds, n):  # type: ignore[no-untyped-def]
    """Append the view of data[begin:end] at codes[n:]; returns (new n, raw chars, mojibake)."""
    chars = 0
    mojibake = 0
    before_last = np.uint32(0)
    last = np.uint32(0)
    run = 0  # equal code points in a row, ending at the last one
    awaited = 0  # TRAIL code points that would complete a misread UTF-8 sequence
    seen = 0
    at = begin
    while at < end:
        if data[at] < 0x80:  # a run of ASCII: nothing to decode, nothing ignored, no mojibake
            start = at
            while at < end and data[at] < 0x80:
                folded = fold_table[data[at]]
                codes[n] = folded
                kinds[n] = class_table[folded] | (class_table[data[at]] & _UPPER)
                n += 1
                at += 1
            chars += at - start
            awaited = 0
            last = np.uint32(0)
            before_last = last
            continue
        code, at = _decode(data, at, end)
        chars += 1
        run = run + 1 if code == last else 1
        if awaited > 0 and class_table[code] & _TRAIL:
            awaited -= 1
            seen += 1
            if awaited == 0:
                mojibake += seen
        else:
            awaited = 0
            if code >= 0xC2 and code <= 0xF4:
                awaited = 1 if code < 0xE0 else 2 if code < 0xF0 else 3
                seen = 1
        if code == 0xFFFD:
            mojibake += 1
        elif code == _KAO and last == _JIN and before_last == _KUN:
            mojibake += 3
        elif code in (_TANG, _TUN) and run >= 3:
            mojibake += 3 if run == 3 else 1
        before_last = last
        last = code
        folded = fold_table[code]
        kind = class_table[folded]
        if kind & _IGNORED == 0:
            codes[n] = folded
            kinds[n] = kind | (class_table[code] & _UPPER)
            n += 1
    return n, chars, mojibake


@compiled
def _read_views(data, offsets, fold_table, class_table):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    codes = np.empty(offsets[documents] - offsets[0], np.uint32)
    kinds = np.empty(len(codes), np.uint32)
    view_offsets = np.zeros(documents + 1, np.int64)
    chars = np.empty(documents, np.int64)
    mojibake = np.empty(documents, np.int64)
    n = 0
    for i in range(documents):
        n, chars[i], mojibake[i] = _read_view(
            data, offsets[i], offsets[i + 1], fold_table, class_table, codes, kinds, n
        )
        view_offsets[i + 1] = n
    return codes[:n], kinds[:n], view_offsets, chars, mojibake


@compiled
def _mix(h):  # type: ignore[no-untyped-def]
    """fmix64 of MurmurHash3: a bijection of 64 bits in which every bit depends on every bit."""
    h = (h ^ (h >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@compiled
def _read_tokens(codes, kinds, view_offsets):  # type: ignore[no-untyped-def]
    documents = len(view_offsets) - 1
    hashes = np.empty(len(codes), np.uint64)
    lengths = np.empty(len(codes), np.int32)
    offsets = np.zeros(documents + 1, np.int64)
    with_letter = np.zeros(documents, np.int64)
    n = 0
    for document in range(documents):
        h = _GOLDEN
        length = 0  # of the run that is open, 0 if none
        letter = False
        for i in range(view_offsets[document], view_offsets[document + 1]):
            kind = kinds[i]
            if kind & _HAN == 0 and (
                kind & (_LETTER | _NUMBER) != 0 or (length > 0 and kind & _MARK != 0)
            ):
                h = (h ^ np.uint64(codes[i])) * _GOLDEN
                length += 1
                letter = letter or kind & _LETTER != 0
                continue
            if length > 0:
                hashes[n] = _mix(h)
                lengths[n] = length
                n += 1
                with_letter[document] += letter
                h = _GOLDEN
                length = 0
                letter = False
            if kind & _HAN:
                hashes[n] = _mix((_GOLDEN ^ np.uint64(codes[i])) * _GOLDEN)
                lengths[n] = 1
                n += 1
                with_letter[document] += 1
        if length > 0:
            hashes[n] = _mix(h)
            lengths[n] = length
            n += 1
            with_letter[document] += letter
        offsets[document + 1] = n
    return hashes[:n], lengths[:n], offsets, with_letter


def views(texts: pa.Array | pa.ChunkedArray) -> Iterator[Views]:
    """Measure views of a column of text, in order, some documents (about CHUNK_BYTES) at a time.

    Format characters (Cf) are left out; bytes that are not UTF-8 read as U+FFFD. Mojibake counts
    U+FFFD, 锟斤拷, runs of three or more 烫 or 屯, and sequences of a code point U+00C2..U+00F4
    and as many TRAIL code points as that byte announces in UTF-8 (UTF-8 read as Latin-1 or cp1252).
    Raises `UserError` for a null or for a column that is no text.
    """
    offsets, data = fold.utf8_buffers(texts)
    fold_table, class_table = fold.tables()
    documents = len(offsets) - 1
    begin = 0
    while begin < documents:
        end = int(np.searchsorted(offsets, offsets[begin] + CHUNK_BYTES, side="right")) - 1
        end = min(max(end, begin + 1), documents)
        yield Views(*_read_views(data, offsets[begin : end + 1], fold_table, class_table))
        begin = end


def tokens(view: Views) -> Tokens:
    """Mixed tokens: each Han character is one, each maximal run of letters and numbers is one.

    Marks continue a run and are dropped elsewhere, as are punctuation, symbols and spaces.
    """
    return Tokens(*_read_tokens(view.codes, view.kinds, view.offsets))


def token_hash(text: str) -> int:
    """Hash that `tokens` gives the single token `text`."""
    (view,) = views(pa.array([text]))
    (hashed,) = tokens(view).hashes
    return int(hashed)


@compiled
def _read_token_hashes(data, offsets, fold_table, class_table):  # type: ignore[no-untyped-def]
    """What `_read_views` and `_read_tokens` give as hashes, without the view between them."""
    documents = len(offsets) - 1
    hashes = np.empty(offsets[documents] - offsets[0], np.uint64)
    token_offsets = np.zeros(documents + 1, np.int64)
    n = 0
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        h = _GOLDEN
        is_open = False
        while at < end:
            byte = data[at]
            if byte < 0x80:
                code = fold_table[byte]
                at += 1
            else:
                raw, at = _decode(data, at, end)
                code = fold_table[raw]
            kind = class_table[code]
            if kind & _IGNORED:
                continue
            if kind & _HAN == 0 and (
                kind & (_LETTER | _NUMBER) != 0 or (is_open and kind & _MARK != 0)
            ):
                h = (h ^ np.uint64(code)) * _GOLDEN
                is_open = True
                continue
            if is_open:
                hashes[n] = _mix(h)
                n += 1
                h = _GOLDEN
                is_open = False
            if kind & _HAN:
                hashes[n] = _mix((_GOLDEN ^ np.uint64(code)) * _GOLDEN)
                n += 1
        if is_open:
            hashes[n] = _mix(h)
            n += 1
        token_offsets[document + 1] = n
    return hashes[:n], token_offsets


def token_hashes(
    texts: pa.Array | pa.ChunkedArray,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(hashes uint64, offsets int64 of n + 1) of the mixed tokens of a column of text.

    Equal to `tokens(view).hashes` of each of its views, in half the time: nothing else is counted.
    Chunks and errors as in `views`.
    """
    offsets, data = fold.utf8_buffers(texts)
    fold_table, class_table = fold.tables()
    documents = len(offsets) - 1
    begin = 0
    while begin < documents:
        end = int(np.searchsorted(offsets, offsets[begin] + CHUNK_BYTES, side="right")) - 1
        end = min(max(end, begin + 1), documents)
        yield _read_token_hashes(data, offsets[begin : end + 1], fold_table, class_table)
        begin = end


class Lines(NamedTuple):
    """Lines that are not blank, of n documents: hashes uint64 (letters alike, every digit a zero,
    nothing else counts), starts and ends int32 (raw characters, the line break left out), letters
    int32 (letters and digits), offsets int64 (n + 1).
    """

    hashes: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    letters: np.ndarray
    offsets: np.ndarray


@compiled
def _read_lines(data, offsets, fold_table, class_table, room):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    hashes = np.empty(room, np.uint64)
    starts = np.empty(room, np.int32)
    ends = np.empty(room, np.int32)
    letters = np.empty(room, np.int32)
    line_offsets = np.zeros(documents + 1, np.int64)
    n = 0
    for document in range(documents):
        at = offsets[document]
        end = offsets[document + 1]
        place = 0
        start = 0
        count = 0
        h = _GOLDEN
        while at < end:
            raw, at = _decode(data, at, end)
            code = fold_table[raw]
            kind = class_table[code]
            if kind & (_LETTER | _NUMBER | _MARK):
                counted = np.uint64(0x30) if kind & _NUMBER else np.uint64(code)
                h = (h ^ counted) * _GOLDEN
                count += 1
            breaks = kind & _NEWLINE != 0
            place += 1
            if breaks or at == end:
                if count:
                    hashes[n] = _mix(h)
                    starts[n] = start
                    ends[n] = place - 1 if breaks else place
                    letters[n] = count
                    n += 1
                start = place
                count = 0
                h = _GOLDEN
        line_offsets[document + 1] = n
    return hashes[:n], starts[:n], ends[:n], letters[:n], line_offsets


def lines(texts: pa.Array | pa.ChunkedArray) -> Lines:
    """The lines of a column of text that hold a letter or a digit. Errors as in `views`.

    Two lines that differ in case, width, digits, punctuation or spacing alone have one hash, as in
    CCNet (arXiv 1911.00359, section 3.1). A line ends at `\\n`, U+2028 or U+2029.
    """
    offsets, data = fold.utf8_buffers(texts)
    fold_table, class_table = fold.tables()
    inside = data[offsets[0] : offsets[-1]]
    # A line break has at least the last byte of one of the three that there are.
    breaks = int(np.count_nonzero((inside == 0x0A) | (inside == 0xA8) | (inside == 0xA9)))
    return Lines(
        *_read_lines(data, offsets, fold_table, class_table, breaks + max(len(offsets) - 1, 0))
    )
