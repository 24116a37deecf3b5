"""One pass over a page's bytes: what it would cost, its lines of text, what its parts are for.

Counts tags, attributes and nesting, so that a page beyond the limits is refused before anything
else is done with it, and cuts what the page shows into lines that know the hints (class, id, role,
tag name) of the elements around them. Follows the tokeniser and the scope rules of the HTML
standard (section 13.2) as far as counting and lines need them; where it simplifies, it counts too
much nesting rather than too little. No tree is built: text stands where it is written (a parser
would move what stands in a table outside of its cells before the table).

Compiled functions call only those of their own file (`skywright.engine.compiled`), and this is one
pass: hence the length of the file.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from skywright.corpus.extract import entities, words
from skywright.corpus.extract.lines import HEADING, ITEM, PARAGRAPH, PLAIN, PREFORMATTED, Lines
from skywright.engine.compiled import compiled

_FNV = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_PRIME = np.uint64(0x100000001B3)

_VOID, _SPECIAL, _FORMATTING = words.VOID, words.SPECIAL, words.FORMATTING
_RAW, _MUTE, _BARRIER, _ENDS_P = words.RAW, words.MUTE, words.BARRIER, words.ENDS_P
_GROUP, _FOREIGN, _BREAKOUT, _P, _LI = (
    words.GROUP, words.FOREIGN, words.BREAKOUT, words.P, words.LI,
)  # fmt: skip
_DD, _OPTION, _CELL, _ROW = words.DD, words.OPTION, words.CELL, words.ROW
_HEADING, _ANCHOR, _BUTTON = words.HEADING, words.ANCHOR, words.BUTTON
_BLOCK, _APART, _PRE, _LIST, _BREAK = (
    words.BLOCK, words.APART, words.PRE, words.LIST, words.BREAK,
)  # fmt: skip
_CLASS, _ID, _ROLE, _ITEMPROP, _HREF, _HIDDEN = (
    np.uint64(words.fnv(name)) for name in ("class", "id", "role", "itemprop", "href", "hidden")
)
_HIDDEN_HINT = 1 << words.HINTS.index("hidden")
_BARE, _LONGEST = entities.BARE, entities.LONGEST
_SPACE = np.isin(np.arange(256), [9, 10, 12, 13, 32])
_ENDS_NAME = np.isin(np.arange(256), [9, 10, 12, 13, 32, 47, 62])  # space / >
_ENDS_VALUE = np.isin(np.arange(256), [9, 10, 12, 13, 32, 62])
_LETTER = np.array([chr(i).isascii() and chr(i).isalnum() for i in range(256)])
_STACK = 2048  # open elements that are remembered; beyond them nothing is taken to close

# Columns of an open element: kind of the tag, its own hints and those of all around, number of the
# block and of the one around it, of the link (0: none), what its lines are (`Lines.kind`), lists
# that are open, level of the heading, newlines where it begins and ends.
_KIND, _OWN, _ALL, _IN, _AROUND, _LINK, _FORM, _LISTS, _HEAD, _GAP = range(10)
# Columns of a line: those of `Lines` behind its text.
(_START, _END, _BREAKS, _LINE, _LEVEL, _LINKED, _LINKS, _NEAR, _FAR, _DEPTH, _GROUP_AT, _OUTER,
 _IN_LINK) = range(13)  # fmt: skip
# The line that is open: bytes of text so far, where it begins, a space that waits, newlines before
# it, bytes in links, links, the last one of them, number of the line, whether it shows a character.
(_FILLED, _BEGIN, _WAITS, _NEWLINES, _OF_LINKS, _LINK_COUNT, _LAST_LINK, _COUNT,
 _OPEN) = range(9)  # fmt: skip


class Counts(NamedTuple):
    """What a page holds: tags (opening and closing), greatest nesting, attributes of the tag that
    has most."""

    tags: int
    depth: int
    attributes: int


@compiled
def _find(keys, values, h):  # type: ignore[no-untyped-def]
    last = np.uint64(len(keys) - 1)
    slot = h & last
    while keys[slot] != 0:
        if keys[slot] == h:
            return values[slot]
        slot = (slot + np.uint64(1)) & last
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
def _close(stack, levels, top, name, kind):  # type: ignore[no-untyped-def]
    """Number of open elements after an end tag, as the standard's scopes have it."""
    special = kind & _SPECIAL
    formatting = kind & _FORMATTING
    crossed = False
    at = top - 1
    while at >= 0:
        other = levels[at, _KIND]
        if stack[at] == name:
            if formatting and crossed:  # the block inside stays open
                for i in range(at, top - 1):
                    stack[i] = stack[i + 1]
                    levels[i] = levels[i + 1]
                    if kind & _ANCHOR:
                        levels[i, _LINK] = 0
                levels[top - 1, _GAP] = 0
                return top - 1
            return at
        if other & _BARRIER and not kind & (_CELL | _ROW) and name != stack[at]:
            return top
        if other & _SPECIAL:
            if not special and not formatting:
                return top
            crossed = True
        at -= 1
    return top


@compiled
def _implied(levels, top, kind):  # type: ignore[no-untyped-def]
    """Number of open elements after those that an opening tag of this kind closes by itself."""
    kinds = levels[:, _KIND]
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
def _entity(data, at, keys, values, controls):  # type: ignore[no-untyped-def]
    """(code point, second one or 0, offset behind) of what the & at `at` stands for."""
    n = len(data)
    i = at + 1
    if i < n and data[i] == 35:
        i += 1
        base = 10
        if i < n and data[i] | 32 == 120:
            base = 16
            i += 1
        begin = i
        number = 0
        while i < n:
            byte = data[i] | 32
            if data[i] >= 48 and data[i] <= 57:
                digit = int(data[i]) - 48
            elif base == 16 and byte >= 97 and byte <= 102:
                digit = int(byte) - 87
            else:
                break
            number = min(number * base + digit, 0x110000)
            i += 1
        if i == begin:
            return 38, 0, at + 1
        if i < n and data[i] == 59:
            i += 1
        if number == 0 or number > 0x10FFFF or (number >= 0xD800 and number < 0xE000):
            number = 0xFFFD
        elif number >= 128 and number < 160:
            number = controls[number - 128]
        return number, 0, i
    h = _FNV
    found = np.int64(0)
    behind = at + 1
    while i < n and _LETTER[data[i]] and i - at <= _LONGEST:
        h = (h ^ np.uint64(data[i])) * _PRIME
        i += 1
        value = _find(keys, values, h)
        if i < n and data[i] == 59 and value:
            return value & 0x1FFFFF, (value >> 21) & 0x1FFFFF, i + 1
        if value & _BARE:  # the longest such name counts: &notit; is not and "it;"
            found = value
            behind = i
    if found:
        return found & 0x1FFFFF, (found >> 21) & 0x1FFFFF, behind
    return 38, 0, at + 1


@compiled
def _utf8(text, filled, code):  # type: ignore[no-untyped-def]
    """Write a code point; the number of bytes then."""
    if code < 0x80:
        text[filled] = code
        return filled + 1
    if code < 0x800:
        text[filled] = 0xC0 | code >> 6
        text[filled + 1] = 0x80 | code & 63
        return filled + 2
    if code < 0x10000:
        text[filled] = 0xE0 | code >> 12
        text[filled + 1] = 0x80 | code >> 6 & 63
        text[filled + 2] = 0x80 | code & 63
        return filled + 3
    text[filled] = 0xF0 | code >> 18
    text[filled + 1] = 0x80 | code >> 12 & 63
    text[filled + 2] = 0x80 | code >> 6 & 63
    text[filled + 3] = 0x80 | code & 63
    return filled + 4


@compiled
def _shows(text, at, end):  # type: ignore[no-untyped-def]
    """Whether there is more than spaces: U+00A0, U+3000 and U+200B count as such."""
    while at < end:
        byte = text[at]
        if byte <= 32:
            at += 1
        elif byte == 0xC2 and text[at + 1] == 0xA0:
            at += 2
        elif text[at + 1] == 0x80 and (
            (byte == 0xE3 and text[at + 2] == 0x80) or (byte == 0xE2 and text[at + 2] == 0x8B)
        ):
            at += 3
        else:
            return True
    return False


@compiled
def _line_ends(text, rows, line, block):  # type: ignore[no-untyped-def]
    """End the open line, at a line break (`block` 0) or with so many newlines at a block's edge."""
    begin = line[_BEGIN]
    end = line[_FILLED]
    while end > begin and text[end - 1] <= 32:
        end -= 1
    shown = _shows(text, begin, end)
    if shown:
        row = rows[:, line[_COUNT]]
        row[_START] = begin
        row[_END] = end
        row[_BREAKS] = line[_NEWLINES]
        row[_LINKED] = line[_OF_LINKS]
        row[_LINKS] = line[_LINK_COUNT]
        line[_COUNT] += 1
        line[_NEWLINES] = 0
        begin = end
    line[_NEWLINES] = max(line[_NEWLINES], block) if block else min(line[_NEWLINES] + 1, 2)
    line[_FILLED] = begin
    line[_BEGIN] = begin
    for i in (_WAITS, _OF_LINKS, _LINK_COUNT, _LAST_LINK, _OPEN):
        line[i] = 0


@compiled
def _text(data, at, text, rows, line, levels, top, keys, values, controls):  # type: ignore[no-untyped-def]
    """Take in what is shown from `at` (whatever byte is there) to the next <; its offset."""
    n = len(data)
    around = levels[max(top - 1, 0)]
    pre = around[_FORM] == PREFORMATTED and top > 0
    link = around[_LINK] if top > 0 else 0
    filled = line[_FILLED]
    of_links = 0
    begin = at
    while at < n and (data[at] != 60 or at == begin):
        byte = data[at]
        code = np.int64(byte)
        second = np.int64(0)
        if byte == 38:
            code, second, at = _entity(data, at, keys, values, controls)
        else:
            at += 1
        if code <= 32 and (code == 0 or _SPACE[code]):
            if not pre:
                line[_WAITS] |= code != 0
            elif code == 10:
                line[_FILLED] = filled
                line[_OF_LINKS] += of_links
                of_links = 0
                _line_ends(text, rows, line, 0)
                filled = line[_FILLED]
            elif code == 32 or code == 9:
                text[filled] = code
                filled += 1
            continue
        if line[_WAITS]:
            line[_WAITS] = 0
            if filled > line[_BEGIN] and text[filled - 1] != 9:
                text[filled] = 32
                filled += 1
        if not line[_OPEN]:
            line[_OPEN] = 1
            row = rows[:, line[_COUNT]]
            row[_NEAR] = 0
            for i in range(max(0, top - 3), top):
                row[_NEAR] |= levels[i, _OWN]
            if top > 0:
                row[_LINE] = around[_FORM]
                row[_LEVEL] = around[_HEAD] if around[_FORM] == HEADING else around[_LISTS]
                row[_FAR] = around[_ALL]
                row[_GROUP_AT] = around[_IN]
                row[_OUTER] = around[_AROUND]
            else:
                row[:] = 0
            row[_DEPTH] = top
            row[_IN_LINK] = link > 0
        if link > 0 and link != line[_LAST_LINK]:
            line[_LAST_LINK] = link
            line[_LINK_COUNT] += 1
        before = filled
        if byte != 38:  # a byte of the page as it stands
            text[filled] = byte
            filled += 1
            while at < n and data[at] > 38 and data[at] != 60:
                text[filled] = data[at]
                filled += 1
                at += 1
        else:
            filled = _utf8(text, filled, code)
            if second:
                filled = _utf8(text, filled, second)
        if link > 0:
            of_links += filled - before
    line[_FILLED] = filled
    line[_OF_LINKS] += of_links
    return at


@compiled
def _attributes(data, at, closing, word_keys, word_masks, box):  # type: ignore[no-untyped-def]
    """(offset of the tag's end, attributes, mask of hints, whether it leads somewhere, whether it
    ends itself)."""
    n = len(data)
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
        if attribute == _HIDDEN:
            mask |= _HIDDEN_HINT
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
            leads = value_end > begin
        elif not closing and attribute in (_CLASS, _ID, _ROLE, _ITEMPROP):
            mask |= _hints(data, begin, min(value_end, n), word_keys, word_masks, box)
    return at, attributes, mask, leads, itself


@compiled
def _opened(stack, levels, top, name, kind, hints, blocks, link, digit):  # type: ignore[no-untyped-def]
    """Put an element on the stack; `link` is its number where it is one, else 0."""
    row = levels[top]
    if top > 0:
        row[:] = levels[top - 1]
    else:
        row[:] = 0
    stack[top] = name
    row[_KIND] = kind
    row[_OWN] = hints
    row[_ALL] |= hints
    row[_GAP] = 2 if kind & _APART else 1 if kind & _BLOCK else 0
    if kind & _GROUP:
        row[_AROUND] = row[_IN]
        row[_IN] = blocks
    if kind & _ANCHOR:
        row[_LINK] = link
    if kind & _PRE:
        row[_FORM] = PREFORMATTED
    elif row[_FORM] == PREFORMATTED or row[_FORM] == HEADING:
        pass
    elif kind & _HEADING:
        row[_FORM] = HEADING
        row[_HEAD] = digit
    elif kind & _LI:
        row[_FORM] = ITEM
    elif kind & _LIST:
        row[_FORM] = PLAIN
        row[_LISTS] = min(row[_LISTS] + 1, 255)
    elif kind & _P and row[_FORM] == PLAIN:
        row[_FORM] = PARAGRAPH


@compiled
def _scan(  # type: ignore[no-untyped-def]
    data, tag_keys, tag_kinds, tag_hints, word_keys, word_masks, box, names, values, controls
):
    n = len(data)
    room = 2  # a line ends at a tag, or at a newline in preformatted text
    for byte in data:
        room += byte == 60 or byte == 10 or byte == 38
    text = np.empty(n + n // 4 + 16, np.uint8)  # &nGt; is a fifth longer when it is decoded
    rows = np.empty((13, room), np.int64)  # memory that no line fills is never touched
    stack = np.zeros(_STACK, np.uint64)
    levels = np.zeros((_STACK, 10), np.int64)
    line = np.zeros(9, np.int64)
    line[_NEWLINES] = 2
    top = 0
    over = 0  # elements open beyond the stack
    blocks = 0
    links = 0
    tags = 0
    deepest = 0
    most = 0
    # b, i, font and the like that were opened and not closed by their own end tag: a parser opens
    # them anew in every block, so they cost as nesting does. Counted by name.
    formatting = np.zeros(64, np.int64)
    reopened = 0
    mute_from = -1  # level of the outermost element whose text is not shown
    foreign_from = -1  # level of the outermost svg or math
    at = 0
    while at < n:
        if data[at] != 60:
            if mute_from < 0:
                at = _text(data, at, text, rows, line, levels, top, names, values, controls)
            while at < n and data[at] != 60:
                at += 1
            continue
        at += 1
        byte = data[at] if at < n else np.uint8(0)
        if byte == 33:  # <!
            if at + 2 < n and data[at + 1] == 45 and data[at + 2] == 45:
                at = _skip_comment(data, at + 3)
            else:
                while at < n and data[at] != 62:
                    at += 1
                at += 1
            continue
        closing = byte == 47
        if closing:
            at += 1
        letter = data[at] | 32 if at < n else 0
        if letter < 97 or letter > 122:
            if closing or byte == 63:  # a bogus comment
                while at < n and data[at] != 62:
                    at += 1
                at += 1
            elif mute_from < 0:  # a < of the text
                at = _text(data, at - 1, text, rows, line, levels, top, names, values, controls)
            continue
        tags += 1
        h = _FNV
        digit = int(data[at + 1]) - 48 if at + 1 < n else 0
        while at < n and not _ENDS_NAME[data[at]]:
            byte = data[at]
            h = (h ^ np.uint64(byte | 32 if byte >= 65 and byte <= 90 else byte)) * _PRIME
            at += 1
        at, attributes, mask, leads, itself = _attributes(
            data, at, closing, word_keys, word_masks, box
        )
        at += 1
        most = max(most, attributes)
        kind = _find(tag_keys, tag_kinds, h)
        muted = mute_from >= 0
        before = top
        gap = 0
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
                top = _close(stack, levels, top, h, kind)
        elif not foreign and over == 0:
            top = _implied(levels, top, kind)
            if kind & _ANCHOR:
                top = _close(stack, levels, top, h, kind)
        if not muted:
            for i in range(top, before):
                gap = max(gap, levels[i, _GAP])
            if not closing or over > 0:
                gap = max(gap, 2 if kind & _APART else 1 if kind & _BLOCK else 0)
            if gap:
                _line_ends(text, rows, line, gap)
            elif kind & _BREAK:
                _line_ends(text, rows, line, 0)
            elif kind & _CELL and not closing and line[_FILLED] > line[_BEGIN]:
                text[line[_FILLED]] = 9
                text[line[_FILLED] + 1] = 9
                line[_FILLED] += 2
                line[_WAITS] = 0
        if not closing:
            opens = not (foreign and itself) and (foreign or not kind & _VOID)
            if not foreign and kind & _RAW:
                at = _skip_raw(data, at, h)
            if kind & _PRE:  # a newline right behind the tag is none
                at += at < n and data[at] == 13
                at += at < n and data[at] == 10
            if opens and (over > 0 or top == _STACK):
                over += 1
            elif opens:
                blocks += kind & _GROUP > 0
                links += kind & _ANCHOR > 0
                link = links if leads else 0
                hints = mask | _find(tag_keys, tag_hints, h)
                _opened(stack, levels, top, h, kind, hints, blocks, link, digit)
                if mute_from < 0 and kind & _MUTE:
                    mute_from = top
                if foreign_from < 0 and kind & _FOREIGN:
                    foreign_from = top
                top += 1
            deepest = max(deepest, top + over)
        if top <= mute_from:
            mute_from = -1
        if top <= foreign_from:
            foreign_from = -1
    _line_ends(text, rows, line, 1)
    return (tags, deepest, most), text[: line[_FILLED]], rows[:, : line[_COUNT]]


@cache
def _tables() -> tuple[np.ndarray, ...]:
    box = np.array([1 << words.HINTS.index(name) for name in ("piece", "content", "box")])
    named = (*entities.names(), entities.controls())
    return *words.tag_tables(), *words.word_table(), box, *named


def scan(page: bytes) -> tuple[Counts, Lines]:
    """Counts and lines of a page in UTF-8."""
    counts, text, columns = _scan(np.frombuffer(page, np.uint8), *_tables())
    return Counts(*counts), Lines(text, *columns)
