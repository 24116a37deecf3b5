"""Compiled counts of repeated n-grams.

An n-gram can repeat only where both (n-1)-grams inside it repeat. So each length looks at the
places that the length before it left over: the counts are those of an exhaustive search, for about
two look-ups a token instead of nine.
"""

from __future__ import annotations

import numpy as np

from skywright.engine.compiled import compiled

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd; any constant of well-mixed bits does
_1, _32 = np.uint64(1), np.uint64(32)

TOP, DUP, LONG = (2, 3, 4), (5, 6, 7, 8, 9, 10), 13
BEST_PAIRS = 5  # data 5.8, z13: the five most frequent 2-grams
COLUMNS = (
    *(f"top_{n}_{what}" for n in TOP for what in ("count", "chars")),
    *(f"dup_{n}" for n in DUP),
    f"repeated_{LONG}",
    "best_pairs",
)
"""Columns of `repeats`: of the most frequent n-gram its count and characters; characters in
duplicate n-grams; places of 13-grams that come more than once; occurrences of the five most
frequent 2-grams."""
_DUP_0, _REPEATED, _BEST = 2 * len(TOP), 2 * len(TOP) + len(DUP), 2 * len(TOP) + len(DUP) + 1


@compiled
def _power(n):  # type: ignore[no-untyped-def]
    result = np.uint64(1)
    for _ in range(n):
        result *= _BASE
    return result


@compiled
def _count(prefix, n, places, table, slot_of):  # type: ignore[no-untyped-def]
    """Count the n-grams at `places`; slot_of[k] is the slot of that at places[k]."""
    keys, stamps, counts, mask, stamp = table
    factor = _power(n)
    for k in range(len(places)):
        i = places[k]
        key = prefix[i + n] - prefix[i] * factor
        slot = ((key ^ (key >> _32)) * _GOLDEN >> _32) & mask
        while stamps[slot] == stamp and keys[slot] != key:
            slot = (slot + _1) & mask
        if stamps[slot] != stamp:
            stamps[slot] = stamp
            keys[slot] = key
            counts[slot] = 0
        counts[slot] += 1
        slot_of[k] = slot


@compiled
def _most_frequent(places, counts, slot_of, ends, n):  # type: ignore[no-untyped-def]
    """(count, characters) of the first most frequent n-gram; (0, 0) if all differ."""
    best, at = 1, -1
    for k in range(len(places)):
        if counts[slot_of[k]] > best:
            best = counts[slot_of[k]]
            at = places[k]
    return (best, ends[at + n] - ends[at]) if at >= 0 else (0, 0)


@compiled
def _most_frequent_sum(places, counts, slot_of, how_many):  # type: ignore[no-untyped-def]
    """Sum of the largest counts of different n-grams. Counts are used up."""
    best = np.zeros(how_many, np.int64)
    for k in range(len(places)):
        count = counts[slot_of[k]]
        counts[slot_of[k]] = 0
        place = how_many
        while place > 0 and count > best[place - 1]:
            place -= 1
        if place < how_many:
            best[place + 1 :] = best[place:-1].copy()
            best[place] = count
    return best.sum()


@compiled
def _duplicate_chars(places, slot_of, seen, ends, n, stamp):  # type: ignore[no-untyped-def]
    """Characters of n-grams that came before, by datatrove's greedy scan: from left to right an
    n-gram seen before adds its characters and is jumped over; a new one is remembered.
    """
    total = 0
    beyond = 0
    for k in range(len(places)):
        i = places[k]
        if i < beyond:
            continue
        if seen[slot_of[k]] == stamp:
            total += ends[i + n] - ends[i]
            beyond = i + n
        else:
            seen[slot_of[k]] = stamp
    return total


@compiled
def repeats(hashes, sizes, token_offsets):  # type: ignore[no-untyped-def]
    """Counts int64 (documents, len(COLUMNS)) of documents given by their tokens."""
    documents = len(token_offsets) - 1
    result = np.zeros((documents, len(COLUMNS)), np.int64)
    most = 0
    for d in range(documents):
        most = max(most, token_offsets[d + 1] - token_offsets[d])
    slots = 4
    while slots < 2 * (most + 1):
        slots *= 2
    keys = np.empty(slots, np.uint64)
    stamps, seen, counts = (
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
    )
    prefix, ends = np.zeros(most + 1, np.uint64), np.zeros(most + 1, np.int64)
    all_places, slot_of = np.empty(most, np.int64), np.empty(most, np.uint64)
    repeated = np.zeros(most + 1, np.int64)  # at i: the longest n-gram from i that repeats
    stamp = 0
    for d in range(documents):
        out = result[d]
        begin = token_offsets[d]
        tokens = token_offsets[d + 1] - begin
        for i in range(tokens):
            prefix[i + 1] = prefix[i] * _BASE + hashes[begin + i]
            ends[i + 1] = ends[i] + sizes[begin + i]
            repeated[i] = 1
        n = 1
        left = tokens
        for i in range(tokens):
            all_places[i] = i
        while n < LONG and left > 1:
            step = 1 if n < DUP[-1] else LONG - DUP[-1]
            kept = 0
            for k in range(left):  # both (n - 1)-grams repeat, and the n-gram ends in the text
                i = all_places[k]
                if i + n + step <= tokens and repeated[i + step] >= n:
                    all_places[kept] = i
                    kept += 1
            n += step
            places = all_places[:kept]
            slots = 4
            while slots < 2 * (kept + 1):  # as small as can be: it stays in cache
                slots *= 2
            stamp += 1
            _count(prefix, n, places, (keys, stamps, counts, np.uint64(slots - 1), stamp), slot_of)
            left = 0
            for k in range(kept):
                if counts[slot_of[k]] > 1:
                    repeated[places[k]] = n
                    all_places[left] = places[k]
                    slot_of[left] = slot_of[k]
                    left += 1
            places = all_places[:left]
            if n <= TOP[-1]:
                out[2 * n - 4], out[2 * n - 3] = _most_frequent(places, counts, slot_of, ends, n)
                if n == 2:
                    out[_BEST] = _most_frequent_sum(places, counts, slot_of, BEST_PAIRS)
            elif n <= DUP[-1]:
                out[_DUP_0 + n - 5] = _duplicate_chars(places, slot_of, seen, ends, n, stamp)
            else:
                out[_REPEATED] = left
    return result
