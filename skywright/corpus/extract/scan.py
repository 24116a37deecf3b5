"""One look at a page's bytes before it is parsed: what it would cost, and what its parts are for.

Counts tags, attributes and nesting, so that a page beyond the limits is never given to a parser,
and remembers of every run of text the hints (class, id, role, tag name) of the elements around it,
which a parser's plain output has lost. Follows the tokeniser and the scope rules of the HTML
standard (section 13.2) as far as counting needs them; where it simplifies, it counts too much
nesting rather than too little.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from skywright.corpus.extract import words
from skywright.engine.compiled import compiled

_FNV = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_PRIME = np.uint64(0x100000001B3)
_SLOT = np.uint64(4095)

_VOID, _SPECIAL, _FORMATTING = words.VOID, words.SPECIAL, words.FORMATTING
_RAW, _MUTE, _BARRIER, _ENDS_P = words.RAW, words.MUTE, words.BARRIER, words.ENDS_P
_GROUP, _FOREIGN, _BREAKOUT, _P, _LI = (
    words.GROUP, words.FOREIGN, words.BREAKOUT, words.P, words.LI,
)  # fmt: skip
_DD, _OPTION, _CELL, _ROW = words.DD, words.OPTION, words.CELL, words.ROW
_HEADING, _ANCHOR, _BUTTON = words.HEADING, words.ANCHOR, words.BUTTON
_CLASS, _ID, _ROLE, _ITEMPROP, _HREF = (
    np.uint64(words.fnv(name)) for name in ("class", "id", "role", "itemprop", "href")
)
_SPACE = np.isin(np.arange(256), [9, 10, 12, 13, 32])
_ENDS_NAME = np.isin(np.arange(256), [9, 10, 12, 13, 32, 47, 62])  # space / >
_ENDS_VALUE = np.isin(np.arange(256), [9, 10, 12, 13, 32, 62])
_LETTER = np.array([chr(i).isascii() and chr(i).isalnum() for i in range(256)])
_STACK = 2048  # open elements that are remembered; beyond them nothing is taken to close


class Counts(NamedTuple):
    """What a page holds: tags (opening and closing), greatest nesting, attributes of the tag that
    has most."""

    tags: int
    depth: int
    attributes: int


class Runs(NamedTuple):
    """The n runs of text of a page, in order.

    letters uint8: the page's letters and digits one after another (see `solid`), starts int64
    (n + 1) into them; near, far int64 (n): hint masks of the three nearest elements and of all;
    depth, group, outer int32 (n): nesting, number of the nearest block and of the block around it;
    linked uint8 (n): inside a link.
    """

    letters: np.ndarray
    starts: np.ndarray
    near: np.ndarray
    far: np.ndarray
    depth: np.ndarray
    group: np.ndarray
    outer: np.ndarray
    linked: np.ndarray


@compiled
def _find(keys, values, h):  # type: ignore[no-untyped-def]
    slot = h & _SLOT
    while keys[slot] != 0:
        if keys[slot] == h:
            return values[slot]
        slot = (slot + np.uint64(1)) & _SLOT
    return np.int64(0)


@compiled
def _hints(data, at, end, keys, masks, box):  # type: ignore[no-untyped-def]
    """Mask of the words in an attribute's value: runs of letters, cut at capitals (camelCase) too,
    and the whole runs."""
    mask = np.int64(0)
    h = _FNV  # of the part since the last cut
    whole = _FNV  # of the run
    length = 0
    was_small = 0
    for i in range(at, end + 1):
        byte = data[i] if i < end else np.uint8(32)
        small = byte >= 97 and byte <= 122
        big = byte >= 65 and byte <= 90
        if small or big:
            if big and was_small:
                mask |= _find(keys, masks, h)
                h = _FNV
            letter = np.uint64(byte | 32)
            h = (h ^ letter) * _PRIME
            whole = (whole ^ letter) * _PRIME
            length += 1
        elif length > 0:
            if length > 1:
                mask |= _find(keys, masks, h) | _find(keys, masks, whole)
            h = _FNV
            whole = _FNV
            length = 0
        was_small = 1 if small else 0
    if mask & box[0] and mask & box[1]:
        mask |= box[2]
    return mask


@compiled
def _close(stack, kinds, top, name, kind):  # type: ignore[no-untyped-def]
    """Number of open elements after an end tag, as the standard's scopes have it."""
    special = kind & _SPECIAL
    formatting = kind & _FORMATTING
    crossed = False
    at = top - 1
    while at >= 0:
        if stack[at] == name:
            if formatting and crossed:  # the block inside stays open
                for i in range(at, top - 1):
                    stack[i] = stack[i + 1]
                    kinds[i] = kinds[i + 1]
                return top - 1
            return at
        if kinds[at] & _BARRIER and not kind & (_CELL | _ROW) and name != stack[at]:
            return top
        if kinds[at] & _SPECIAL:
            if not special and not formatting:
                return top
            crossed = True
        at -= 1
    return top


@compiled
def _implied(kinds, top, kind):  # type: ignore[no-untyped-def]
    """Number of open elements after those that an opening tag of this kind closes by itself."""
    if kind & _LI or kind & _DD:
        at = top - 1
        while at >= 0 and not (kinds[at] & _SPECIAL and not kinds[at] & (_P | _LI | _DD)):
            if kinds[at] & kind & (_LI | _DD):
                return at
            at -= 1
    if kind & (_CELL | _ROW):
        at = top - 1
        wanted = _CELL if kind & _CELL else _CELL | _ROW
        while at >= 0 and not (kinds[at] & _BARRIER and not kinds[at] & _CELL):
            if kinds[at] & wanted:
                top = at
            if kinds[at] & _ROW and kind & _CELL:
                break
            at -= 1
        return top
    if kind & _ENDS_P:
        at = top - 1
        while at >= 0 and not kinds[at] & (_BARRIER | _BUTTON):
            if kinds[at] & _P:
                top = at
                break
            at -= 1
        if kind & _HEADING and top > 0 and kinds[top - 1] & _HEADING:
            top -= 1
    elif kind & _OPTION and top > 0 and kinds[top - 1] & _OPTION:
        top -= 1
    return top


@compiled
def _skip_comment(data, at):  # type: ignore[no-untyped-def]
    """Position after a comment whose `<!--` ends at `at`."""
    n = len(data)
    if at < n and data[at] == 62:
        return at + 1
    if at + 1 < n and data[at] == 45 and data[at + 1] == 62:
        return at + 2
    while at < n:
        if data[at] == 62:
            if data[at - 1] == 45 and data[at - 2] == 45:
                return at + 1
            if data[at - 1] == 33 and data[at - 2] == 45 and data[at - 3] == 45:
                return at + 1
        at += 1
    return n


@compiled
def _skip_raw(data, at, name):  # type: ignore[no-untyped-def]
    """Position of the `</name` that ends an element of raw text."""
    n = len(data)
    while at < n:
        if data[at] == 60 and at + 2 < n and data[at + 1] == 47:
            h = _FNV
            i = at + 2
            while i < n and (data[i] | 32) >= 97 and (data[i] | 32) <= 122:
                h = (h ^ np.uint64(data[i] | 32)) * _PRIME
                i += 1
            if h == name and (i == n or _ENDS_NAME[data[i]]):
                return at
        at += 1
    return n


@compiled
def solid(data, at):  # type: ignore[no-untyped-def]
    """Bytes of the letter or digit at `at`, 0 for anything else.

    Latin letters with marks and all punctuation count as something else, because pages write them
    as entities and parsers as characters; what is left is the same on both sides of a parser.
    """
    byte = data[at]
    if byte < 0x80:
        letter = byte | 32
        return 1 if (letter >= 97 and letter <= 122) or (byte >= 48 and byte <= 57) else 0
    if byte < 0xCE:
        return 0
    if byte < 0xE0:
        return 2
    if byte < 0xF0:
        if (
            byte == 0xE2
            or byte == 0xEF
            or (byte == 0xE3 and data[min(at + 1, len(data) - 1)] == 0x80)
        ):
            return 0
        return 3
    return 4


@compiled
def _scan(data, tag_keys, tag_kinds, tag_hints, word_keys, word_masks, box):  # type: ignore[no-untyped-def]
    n = len(data)
    room = 1  # a run of text begins behind a tag
    for byte in data:
        room += byte == 60
    letters = np.empty(n, np.uint8)
    starts = np.empty(room + 2, np.int64)
    near = np.empty(room + 1, np.int64)
    far = np.empty(room + 1, np.int64)
    depths = np.empty(room + 1, np.int32)
    group = np.empty(room + 1, np.int32)
    outer = np.empty(room + 1, np.int32)
    linked = np.empty(room + 1, np.uint8)
    stack = np.zeros(_STACK, np.uint64)
    kinds = np.zeros(_STACK, np.int64)
    own = np.zeros(_STACK, np.int64)
    all_hints = np.zeros(_STACK, np.int64)
    groups = np.zeros(_STACK, np.int32)  # number of the innermost block at each level
    outers = np.zeros(_STACK, np.int32)
    top = 0
    over = 0  # elements open beyond the stack
    blocks = np.int32(0)
    tags = 0
    deepest = 0
    most = 0
    runs = 0
    filled = 0
    # b, i, font and the like that were opened and not closed by their own end tag: a parser opens
    # them anew in every block, so they cost as nesting does. Counted by name.
    formatting = np.zeros(64, np.int64)
    reopened = 0
    mute_from = -1  # level of the outermost element whose text is not shown
    foreign_from = -1  # level of the outermost svg or math
    at = 0
    while at < n:
        if data[at] != 60:  # text up to the next tag
            before = filled
            while mute_from >= 0 and at < n and data[at] != 60:
                at += 1
            while at < n and data[at] != 60:
                byte = data[at]
                if byte < 0x80 and byte != 38:
                    if _LETTER[byte]:
                        letters[filled] = byte
                        filled += 1
                    at += 1
                    continue
                if byte == 38:  # an entity is no letter; a lone & skips nothing
                    i = at + 1
                    while (
                        i < n
                        and i < at + 12
                        and data[i] != 59
                        and (data[i] == 35 or solid(data, i) == 1)
                    ):
                        i += 1
                    at = i + 1 if i < n and data[i] == 59 else at + 1
                    continue
                size = solid(data, at)
                if size == 0:
                    at += 1
                    continue
                stop = min(at + size, n)
                while at < stop:
                    letters[filled] = data[at]
                    filled += 1
                    at += 1
            if filled > before:
                starts[runs] = before
                level = top - 1
                far[runs] = all_hints[level] if level >= 0 else 0
                mask = np.int64(0)
                link = 0
                for i in range(max(0, top - 3), top):
                    mask |= own[i]
                for i in range(max(0, top - 4), top):
                    if kinds[i] & _ANCHOR:
                        link = 1
                near[runs] = mask
                depths[runs] = top
                group[runs] = groups[level] if level >= 0 else 0
                outer[runs] = outers[level] if level >= 0 else 0
                linked[runs] = link
                runs += 1
            continue
        at += 1
        if at >= n:
            break
        closing = False
        if data[at] == 33:  # <!
            if at + 2 < n and data[at + 1] == 45 and data[at + 2] == 45:
                at = _skip_comment(data, at + 3)
            else:
                while at < n and data[at] != 62:
                    at += 1
                at += 1
            continue
        if data[at] == 47:
            closing = True
            at += 1
        letter = data[at] | 32 if at < n else 0
        if letter < 97 or letter > 122:
            if closing or (at < n and data[at] == 63):  # a bogus comment
                while at < n and data[at] != 62:
                    at += 1
                at += 1
            continue
        tags += 1
        h = _FNV
        while at < n and not _ENDS_NAME[data[at]]:
            byte = data[at]
            h = (h ^ np.uint64(byte | 32 if byte >= 65 and byte <= 90 else byte)) * _PRIME
            at += 1
        mask = np.int64(0)
        attributes = 0
        itself = False
        leads = False
        while at < n and data[at] != 62:
            byte = data[at]
            if _ENDS_NAME[byte]:
                itself = byte == 47
                at += 1
                continue
            itself = False
            attributes += 1
            attribute = _FNV
            first = True
            while at < n and (first or data[at] != 61) and not _ENDS_NAME[data[at]]:
                byte = data[at]
                attribute = (
                    attribute ^ np.uint64(byte | 32 if byte >= 65 and byte <= 90 else byte)
                ) * _PRIME
                at += 1
                first = False
            while at < n and _SPACE[data[at]]:
                at += 1
            if at >= n or data[at] != 61:
                continue
            at += 1
            while at < n and _SPACE[data[at]]:
                at += 1
            if at >= n:
                break
            quote = data[at]
            if quote == 34 or quote == 39:
                at += 1
                begin = at
                while at < n and data[at] != quote:
                    at += 1
                value_end = at
                at += 1
            else:
                begin = at
                while at < n and not _ENDS_VALUE[data[at]]:
                    at += 1
                value_end = at
            if attribute == _HREF:
                leads = True
            elif not closing and attribute in (_CLASS, _ID, _ROLE, _ITEMPROP):
                mask |= _hints(data, begin, min(value_end, n), word_keys, word_masks, box)
        at += 1
        most = max(most, attributes)
        kind = _find(tag_keys, tag_kinds, h)
        if foreign_from >= 0 and kind & _BREAKOUT and over == 0:
            top = foreign_from
            foreign_from = -1
        foreign = foreign_from >= 0
        if kind & _FORMATTING and not kind & _ANCHOR:
            slot = h & np.uint64(63)
            if not closing:
                formatting[slot] += 1
                reopened += 1
                deepest = max(deepest, reopened)
            elif formatting[slot] > 0:
                formatting[slot] -= 1
                reopened -= 1
        if closing:
            if over == 0:
                top = _close(stack, kinds, top, h, kind)
        else:
            if not foreign and over == 0:
                top = _implied(kinds, top, kind)
                if kind & _ANCHOR:
                    top = _close(stack, kinds, top, h, kind)
            opens = not (foreign and itself) and (foreign or not kind & _VOID)
            if not foreign and kind & _RAW:
                at = _skip_raw(data, at, h)
            if opens and (over > 0 or top == _STACK):
                over += 1
            elif opens:
                stack[top] = h
                # A mark in the text (<a name=...>) is no link.
                kinds[top] = kind if leads else kind & ~_ANCHOR
                own[top] = mask | _find(tag_keys, tag_hints, h)
                inherited = all_hints[top - 1] if top > 0 else 0
                all_hints[top] = inherited | own[top]
                groups[top] = groups[top - 1] if top > 0 else 0
                outers[top] = outers[top - 1] if top > 0 else 0
                if kind & _GROUP:
                    blocks += np.int32(1)
                    outers[top] = groups[top]
                    groups[top] = blocks
                if mute_from < 0 and kind & _MUTE:
                    mute_from = top
                if foreign_from < 0 and kind & _FOREIGN:
                    foreign_from = top
                top += 1
                deepest = max(deepest, top)
            deepest = max(deepest, top + over)
        if top <= mute_from:
            mute_from = -1
        if top <= foreign_from:
            foreign_from = -1
    starts[runs] = filled
    return (
        tags, deepest, most, letters[:filled], starts[: runs + 1], near[:runs], far[:runs],
        depths[:runs], group[:runs], outer[:runs], linked[:runs],
    )  # fmt: skip


@cache
def _tables() -> tuple[np.ndarray, ...]:
    box = np.array([1 << words.HINTS.index(name) for name in ("piece", "content", "box")])
    return *words.tag_tables(), *words.word_table(), box


def scan(page: bytes) -> tuple[Counts, Runs]:
    """Counts and runs of text of a page in UTF-8 (or in a charset that keeps ASCII)."""
    data = np.frombuffer(page, np.uint8)
    tags, depth, attributes, *runs = _scan(data, *_tables())
    return Counts(tags, depth, attributes), Runs(*runs)
