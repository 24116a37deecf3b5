"""Compiled byte-pair merging: UTF-8 bytes to ids, unit by unit, with a cache of units.

A merge makes a piece, so it can join two neighbouring characters only if some piece that a merge
makes holds the two side by side. Everywhere else a text may be cut before merging, and what
happens in one part cannot be seen in another: merging takes the lowest rank first and the
leftmost among equals, and the order of steps inside a part is the same with and without the
other parts. The parts are called units. They are words with their space in English, and one to a
few characters in Chinese, where no spaces cut.

A unit is known by the ids of its characters, which are written straight into the output; a cache
maps them to the merged ids, and compares all of them, so that its answer is exact. Whether a unit
is found there or merged anew, the ids are the same.

One thread, without the GIL. Compiled functions call only compiled functions of this file (see
`skywright.corpus.kernels`).
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np

from skywright.engine.compiled import compiled

JOIN_BITS = 20
"""log2 of the bits of the filter of neighbours, 128 KiB. LLaMA's pieces set 0.3 % of them, with
25,000 Chinese words beside them 3 %. Measured from 17 to 23: the same speed within 10 %."""
SHORT_UNIT_CHARS = 64
"""Longest unit that is cached, and merged by looking through all its pairs again and again.
Measured on English letters: quicker than the heap up to 190 characters, 1.6 times at 64. In code
0.6 % of the characters stand in longer units, elsewhere none."""
NONE = np.int32(2**31 - 1)
"""Rank of a pair that no merge joins."""
POSITION_BITS = 40
"""Bits of a place inside a long unit; a rank takes the 23 above them (see `_merge_long`)."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd (Knuth, TAOCP 3, 6.4)
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_3 = np.uint64(3)
_7 = np.uint64(7)
_29 = np.uint64(29)
_JOIN_SHIFT = np.uint64(64 - JOIN_BITS)


class Tables(NamedTuple):
    """A vocabulary and its merges.

    char_ids int32 (0x110000): id of a character's own piece, -1 if it has none; byte_ids int32
    (256); joins uint8 (2^JOIN_BITS / 8): a bit for a hash of two character ids, set if a merged
    piece holds the two side by side (and seldom if none does, which only makes a unit longer);
    pair_keys uint64 and pair_ranks int32 (a power of two): left id << 32 | right id and the rank
    of their merge, open addressing; joined int32 (merges): the id that each rank makes.
    """

    char_ids: np.ndarray
    byte_ids: np.ndarray
    joins: np.ndarray
    pair_keys: np.ndarray
    pair_ranks: np.ndarray
    joined: np.ndarray


class Cache(NamedTuple):
    """Merged units: slots uint64 (a power of two) of 32 bits of hash and 32 of a place in `arena`.

    At a place in `arena` (int32): count of characters, count of ids, the characters' ids, the ids.
    used int64 (2): slots taken, and int32s of the arena taken. Place 0 stands for an empty slot.
    """

    slots: np.ndarray
    arena: np.ndarray
    used: np.ndarray


@compiled
def _pair_key(left, right):  # type: ignore[no-untyped-def]
    return (np.uint64(left) << _32) | np.uint64(right)


@compiled
def _spread(h):  # type: ignore[no-untyped-def]
    """Mix high bits of a product into the low ones, which choose a slot."""
    h = (h ^ (h >> _32)) * _GOLDEN
    return h ^ (h >> _29)


@compiled
def _join_bit(left, right):  # type: ignore[no-untyped-def]
    return (_pair_key(left, right) * _GOLDEN) >> _JOIN_SHIFT


@compiled
def _may_join(joins, left, right):  # type: ignore[no-untyped-def]
    bit = _join_bit(left, right)
    return (joins[bit >> _3] >> (bit & _7)) & 1 != 0


@compiled
def fill_joins(lefts, rights, joins):  # type: ignore[no-untyped-def]
    """Set the bits of neighbouring character ids."""
    for i in range(len(lefts)):
        bit = _join_bit(lefts[i], rights[i])
        joins[bit >> _3] |= np.uint8(1 << (bit & _7))


@compiled
def fill_pairs(lefts, rights, pair_keys, pair_ranks):  # type: ignore[no-untyped-def]
    """Enter merge i = (lefts[i], rights[i]) with rank i; of a pair given twice the last counts."""
    mask = np.uint64(len(pair_keys) - 1)
    pair_keys[:] = _EMPTY
    for i in range(len(lefts)):
        key = _pair_key(lefts[i], rights[i])
        slot = _spread(key) & mask
        while pair_keys[slot] != _EMPTY and pair_keys[slot] != key:
            slot = (slot + np.uint64(1)) & mask
        pair_keys[slot] = key
        pair_ranks[slot] = i


@compiled
def _rank(tables, left, right):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(tables.pair_keys) - 1)
    key = _pair_key(left, right)
    slot = _spread(key) & mask
    while True:
        found = tables.pair_keys[slot]
        if found == key:
            return tables.pair_ranks[slot]
        if found == _EMPTY:
            return NONE
        slot = (slot + np.uint64(1)) & mask


@compiled
def _merge_short(ids, start, n, tables, ranks):  # type: ignore[no-untyped-def]
    """Merge ids[start:n] in place; returns the new end. Quadratic, with a small constant."""
    last = n - start - 1  # pairs that are left
    for i in range(last):
        ranks[i] = _rank(tables, ids[start + i], ids[start + i + 1])
    while True:
        lowest = NONE
        place = 0
        for i in range(last):
            if ranks[i] < lowest:
                lowest = ranks[i]
                place = i
        if lowest == NONE:
            return start + last + 1
        ids[start + place] = tables.joined[lowest]
        for i in range(place + 1, last):
            ids[start + i] = ids[start + i + 1]
        for i in range(place, last - 1):
            ranks[i] = ranks[i + 1]
        last -= 1
        if place > 0:
            ranks[place - 1] = _rank(tables, ids[start + place - 1], ids[start + place])
        if place < last:
            ranks[place] = _rank(tables, ids[start + place], ids[start + place + 1])


@compiled
def _merge_long(ids, start, n, tables):  # type: ignore[no-untyped-def]
    """Merge ids[start:n] in place; returns the new end. A heap of rank << 40 | place.

    An entry whose pair has changed since it was pushed is known by its rank, which names a pair.
    """
    count = n - start
    following = np.arange(1, count + 1)
    before = np.arange(-1, count - 1)
    gone = np.zeros(count, np.bool_)
    heap = [np.int64(0) for _ in range(0)]  # empty, of a type that the compiler knows
    for i in range(count - 1):
        rank = _rank(tables, ids[start + i], ids[start + i + 1])
        if rank != NONE:
            heap.append((np.int64(rank) << POSITION_BITS) | i)
    heapq.heapify(heap)
    while len(heap) > 0:
        top = heapq.heappop(heap)
        rank = np.int32(top >> POSITION_BITS)
        place = top & ((1 << POSITION_BITS) - 1)
        after = following[place]
        if gone[place] or after == count:
            continue
        if _rank(tables, ids[start + place], ids[start + after]) != rank:
            continue
        ids[start + place] = tables.joined[rank]
        gone[after] = True
        after = following[after]
        following[place] = after
        if after < count:
            before[after] = place
            rank = _rank(tables, ids[start + place], ids[start + after])
            if rank != NONE:
                heapq.heappush(heap, (np.int64(rank) << POSITION_BITS) | place)
        front = before[place]
        if front >= 0:
            rank = _rank(tables, ids[start + front], ids[start + place])
            if rank != NONE:
                heapq.heappush(heap, (np.int64(rank) << POSITION_BITS) | front)
    n = start
    left = 0
    while left < count:
        ids[n] = ids[start + left]
        n += 1
        left = following[left]
    return n


@compiled
def _decode(data, at):  # type: ignore[no-untyped-def]
    """(code point, bytes) of the character at a place of valid UTF-8."""
    first = np.int64(data[at])
    if first < 0x80:
        return first, 1
    second = np.int64(data[at + 1] & 0x3F)
    if first < 0xE0:
        return (first & 0x1F) << 6 | second, 2
    third = np.int64(data[at + 2] & 0x3F)
    if first < 0xF0:
        return (first & 0x0F) << 12 | second << 6 | third, 3
    return (first & 0x07) << 18 | second << 12 | third << 6 | np.int64(data[at + 3] & 0x3F), 4


@compiled
def _split(data, at, end, prefix, tables, ids, starts):  # type: ignore[no-untyped-def]
    """Write the ids of a text's characters, and where each unit of them begins; returns the units.

    A character without a piece is written as bytes, each a unit. The end follows the last start.
    """
    char_ids = tables.char_ids
    byte_ids = tables.byte_ids
    joins = tables.joins
    n = 0
    units = 0
    last = np.int32(-1)  # id of the character before, -1 if it has no piece or is none
    if prefix >= 0 and at < end:
        last = np.int32(prefix)
        ids[0] = last
        starts[0] = 0
        n = 1
        units = 1
    while at < end:
        code, length = _decode(data, at)
        char = char_ids[code]
        if char < 0:
            for i in range(at, at + length):
                ids[n] = byte_ids[data[i]]
                starts[units] = n
                n += 1
                units += 1
        else:
            if last < 0 or not _may_join(joins, last, char):
                starts[units] = n
                units += 1
            ids[n] = char
            n += 1
        last = char
        at += length
    starts[units] = n
    return units


@compiled
def _find(slots, arena, h, ids, start, count):  # type: ignore[no-untyped-def]
    """(place of the unit's record in the arena, slot), or (0, the slot for a new one)."""
    mask = np.uint64(len(slots) - 1)
    slot = h & mask
    while slots[slot] != 0:
        if slots[slot] >> _32 == h >> _32:
            at = np.int64(slots[slot] & _LOW)
            if arena[at] == count:
                same = True
                for i in range(count):
                    if arena[at + 2 + i] != ids[start + i]:
                        same = False
                        break
                if same:
                    return at, slot
        slot = (slot + np.uint64(1)) & mask
    return np.int64(0), slot


@compiled
def _enter(cache, h, slot, ids, start, count, tables, ranks):  # type: ignore[no-untyped-def]
    """Merge the unit ids[start : start + count] in a new record; returns its place.

    A cache that is full is emptied first.
    """
    slots = cache.slots
    arena = cache.arena
    at = cache.used[1]
    if at + 2 + 2 * count > len(arena) or 2 * cache.used[0] >= len(slots):
        slots[:] = 0
        slot = h & np.uint64(len(slots) - 1)
        cache.used[0] = 0
        at = np.int64(1)
    slots[slot] = (h & ~_LOW) | np.uint64(at)
    merged = at + 2 + count
    for i in range(count):
        arena[at + 2 + i] = ids[start + i]
        arena[merged + i] = ids[start + i]
    end = _merge_short(arena, merged, merged + count, tables, ranks)
    arena[at] = count
    arena[at + 1] = end - merged
    cache.used[0] += 1
    cache.used[1] = end
    return at


@compiled
def _merge(ids, starts, units, tables, cache, ranks):  # type: ignore[no-untyped-def]
    """Merge every unit of ids in place and close the gaps; returns the count of ids."""
    slots = cache.slots
    arena = cache.arena
    n = 0
    for unit in range(units):
        start = starts[unit]
        count = starts[unit + 1] - start
        if count == 1:
            ids[n] = ids[start]
            n += 1
        elif count <= SHORT_UNIT_CHARS:
            h = np.uint64(0)
            for i in range(start, start + count):
                h = (h ^ np.uint64(ids[i])) * _GOLDEN
            h = _spread(h)
            at, slot = _find(slots, arena, h, ids, start, count)
            if at == 0:
                at = _enter(cache, h, slot, ids, start, count, tables, ranks)
            first = at + 2 + count
            for i in range(first, first + arena[at + 1]):
                ids[n] = arena[i]
                n += 1
        else:
            for i in range(start, _merge_long(ids, start, start + count, tables)):
                ids[n] = ids[i]
                n += 1
    return n


@compiled
def encode_texts(data, offsets, prefix, tables, cache):  # type: ignore[no-untyped-def]
    """(ids int32, ends int64): the ids of all texts, and where those of each end.

    data uint8, valid UTF-8, and offsets int64 (texts + 1) into it, at least one text. `prefix` is
    the id of a character put before a text that is not empty, -1 for none.
    """
    texts = len(offsets) - 1
    ids = np.empty(offsets[texts] - offsets[0] + texts, np.int32)  # a byte is at most one id
    ends = np.empty(texts, np.int64)
    starts = np.empty((offsets[1:] - offsets[:-1]).max() + 2, np.int64)
    ranks = np.empty(SHORT_UNIT_CHARS, np.int32)
    n = 0
    for text in range(texts):
        own = ids[n:]
        units = _split(data, offsets[text], offsets[text + 1], prefix, tables, own, starts)
        n += _merge(own, starts, units, tables, cache, ranks)
        ends[text] = n
    return ids[:n].copy(), ends
