"""Compiled search for benchmark items: tokens with numbers made alike, n-grams, best windows.

A number is one token `<number>`, however it is written: digits, English number words, Chinese
numerals, several in a row. An item whose numbers were spelled out, or exchanged, is then found by
the words around them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from skywright.corpus import fold, kernels
from skywright.engine.compiled import compiled

VERSION = f"benchmark-tokens/v1 {fold.VERSION}"

NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred
thousand million billion
"""
NUMERALS = "〇零一二三四五六七八九十百千万萬亿億两兩"

_HAN, _LETTER, _NUMBER, _MARK = fold.HAN, fold.LETTER, fold.NUMBER, fold.MARK
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_33 = np.uint64(33)
_BASE = np.uint64(0xD6E8FEB86659FD93)
NUMBER = np.uint64(0x9D39247E33776D41)  # hash of every number; any value does


@compiled
def _mix(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@compiled
def _ngram(hashes, start, width):  # type: ignore[no-untyped-def]
    """Key of the n-gram of `width` tokens that begins at `start`."""
    h = np.uint64(0)
    for k in range(width):
        h = h * _BASE + hashes[start + k]
    return _mix(h)


@compiled
def read_tokens(codes, kinds, view_offsets, numerals, words):  # type: ignore[no-untyped-def]
    """Token hashes (uint64) of each document, offsets int64 (n + 1), where each begins and ends.

    begins and ends int32 count characters of the document's view. numerals: sorted code points;
    words: sorted hashes of number words.
    """
    documents = len(view_offsets) - 1
    hashes = np.empty(len(codes), np.uint64)
    begins = np.empty(len(codes), np.int32)
    ends = np.empty(len(codes), np.int32)
    offsets = np.zeros(documents + 1, np.int64)
    n = 0
    for document in range(documents):
        first = view_offsets[document]
        last = view_offsets[document + 1]
        begin_n = n
        i = first
        while i < last:
            kind = kinds[i]
            start = i
            if kind & _HAN:
                place = np.searchsorted(numerals, codes[i])
                is_number = place < len(numerals) and numerals[place] == codes[i]
                h = _mix((_GOLDEN ^ np.uint64(codes[i])) * _GOLDEN)
                i += 1
            elif kind & (_LETTER | _NUMBER):
                h = _GOLDEN
                is_number = True
                while (
                    i < last
                    and kinds[i] & _HAN == 0
                    and (kinds[i] & (_LETTER | _NUMBER | _MARK) != 0)
                ):
                    h = (h ^ np.uint64(codes[i])) * _GOLDEN
                    if kinds[i] & _NUMBER == 0:
                        is_number = False
                    i += 1
                h = _mix(h)
                if not is_number:
                    place = np.searchsorted(words, h)
                    is_number = place < len(words) and words[place] == h
            else:
                i += 1
                continue
            if is_number:
                h = NUMBER
                if n > begin_n and hashes[n - 1] == NUMBER:
                    ends[n - 1] = i - first
                    continue
            hashes[n] = h
            begins[n] = start - first
            ends[n] = i - first
            n += 1
        offsets[document + 1] = n
    return hashes[:n], offsets, begins[:n], ends[:n]


@compiled
def grams(hashes, width):  # type: ignore[no-untyped-def]
    """Hashes of the n-grams of `width` tokens, at the place of their first token."""
    n = max(0, len(hashes) - width + 1)
    out = np.empty(n, np.uint64)
    for t in range(n):
        out[t] = _ngram(hashes, t, width)
    return out


@compiled
def search(  # type: ignore[no-untyped-def]
    hashes, offsets, width, keys, starts, bits, begins, postings, idf, sizes, lengths, floor
):
    """Places where items are found: rows (document, item, first token, last token, score).

    keys: sorted distinct n-grams; begins (len(keys) + 1) into postings, the items that have each;
    idf float64 a key; sizes float64: sum of the idf of each item's n-grams; lengths int64: tokens
    of each item. Score: the largest share of an item's weight that the document has within a
    window of 1.5 times the item's tokens, each n-gram counted once. Rows with a score of at least
    `floor`; one an item and document.
    """
    shift = np.uint64(64 - bits)
    rows = np.empty((64, 4), np.int64)
    scores = np.empty(64, np.float64)
    n = 0
    for d in range(len(offsets) - 1):
        first, last = offsets[d], offsets[d + 1]
        count = 0
        for t in range(first, last - width + 1):
            h = _ngram(hashes, t, width)
            prefix = np.int64(h >> shift)
            for k in range(starts[prefix], starts[prefix + 1]):
                if keys[k] == h:
                    count += begins[k + 1] - begins[k]
        if count == 0:
            continue
        # (item, place, key) of every match, then item by item, place by place.
        item_of = np.empty(count, np.int64)
        place_of = np.empty(count, np.int64)
        key_of = np.empty(count, np.int64)
        m = 0
        for t in range(first, last - width + 1):
            h = _ngram(hashes, t, width)
            prefix = np.int64(h >> shift)
            for k in range(starts[prefix], starts[prefix + 1]):
                if keys[k] == h:
                    for p in range(begins[k], begins[k + 1]):
                        item_of[m] = postings[p]
                        place_of[m] = t - first
                        key_of[m] = k
                        m += 1
        order = np.argsort(item_of, kind="mergesort")  # stable: places stay in order
        group = 0
        while group < m:
            item = item_of[order[group]]
            stop = group
            while stop < m and item_of[order[stop]] == item:
                stop += 1
            reach = lengths[item] + lengths[item] // 2 + width
            best = 0.0
            best_begin = best_end = np.int64(0)
            if stop - group >= 1:
                total = 0.0
                low = group
                for high in range(group, stop):
                    key = key_of[order[high]]
                    seen = False
                    for other in range(high - 1, low - 1, -1):
                        if key_of[order[other]] == key:
                            seen = True
                            break
                    if not seen:
                        total += idf[key]
                    while place_of[order[high]] - place_of[order[low]] > reach:
                        gone = key_of[order[low]]
                        low += 1
                        again = False
                        for other in range(low, high + 1):
                            if key_of[order[other]] == gone:
                                again = True
                                break
                        if not again:
                            total -= idf[gone]
                    if total > best + 1e-9:
                        best = total
                        best_begin = place_of[order[low]]
                        best_end = place_of[order[high]] + width - 1
            score = best / sizes[item] if sizes[item] > 0 else 0.0
            if score >= floor:
                if n == len(rows):
                    wider = np.empty((2 * n, 4), np.int64)
                    wider[:n] = rows
                    rows = wider
                    higher = np.empty(2 * n, np.float64)
                    higher[:n] = scores
                    scores = higher
                rows[n, 0] = d
                rows[n, 1] = item
                rows[n, 2] = best_begin
                rows[n, 3] = best_end
                scores[n] = min(score, 1.0)
                n += 1
            group = stop
    return rows[:n], scores[:n]


def number_tables() -> tuple[np.ndarray, np.ndarray]:
    """Sorted code points of numerals, and sorted token hashes of number words."""
    numerals = np.array(sorted(ord(character) for character in NUMERALS), np.uint32)
    words = np.array(sorted(kernels.token_hash(word) for word in NUMBER_WORDS.split()), np.uint64)
    return numerals, words


def tokens(
    texts: pa.Array | pa.ChunkedArray,
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """`read_tokens` of a text column, chunk by chunk, in order."""
    numerals, words = number_tables()
    return [
        read_tokens(view.codes, view.kinds, view.offsets, numerals, words)
        for view in kernels.views(texts)
    ]
