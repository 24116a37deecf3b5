"""resiliparse's minimal HTML, cut into lines of text with what its tags and links say of them.

The markup knows p, h1 to h6, ul, ol, li, pre, br and a; its text escapes & < > and ". Undoing that
gives back the page's own characters. A line ends at a newline and at every tag but a.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skywright.engine.compiled import compiled

_AMPERSAND, _LESS, _GREATER, _QUOTE = (
    np.frombuffer(name, np.uint8) for name in (b"&amp;", b"&lt;", b"&gt;", b"&quot;")
)

PLAIN, PARAGRAPH, HEADING, ITEM, PREFORMATTED = range(5)
"""What a line stands in: `Lines.kind`."""


class Lines(NamedTuple):
    """The n lines of a page that show anything.

    text uint8: UTF-8 without markup; starts, ends int64 (n) into it; breaks uint8 (n): newlines
    before the line, at most 2; kind uint8 (n); level uint8 (n): of the heading, or how many lists
    are open; linked int32 (n): bytes inside links, links int32 (n): their number.
    """

    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    breaks: np.ndarray
    kind: np.ndarray
    level: np.ndarray
    linked: np.ndarray
    links: np.ndarray


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
def _is(data, at, name):  # type: ignore[no-untyped-def]
    same = at + len(name) <= len(data)
    for i in range(len(name)):
        same = same and data[at + i] == name[i]
    return same


@compiled
def _entity(data, at):  # type: ignore[no-untyped-def]
    """(byte, length) of the escape at `at`, or the & itself."""
    if _is(data, at, _AMPERSAND):
        return 38, 5
    if _is(data, at, _LESS):
        return 60, 4
    if _is(data, at, _GREATER):
        return 62, 4
    if _is(data, at, _QUOTE):
        return 34, 6
    return 38, 1


@compiled
def _lines(data):  # type: ignore[no-untyped-def]
    n = len(data)
    room = 1
    for byte in data:
        room += byte == 10 or byte == 60
    text = np.empty(n, np.uint8)
    starts = np.empty(room, np.int64)
    ends = np.empty(room, np.int64)
    breaks = np.empty(room, np.uint8)
    kinds = np.empty(room, np.uint8)
    levels = np.empty(room, np.uint8)
    linked = np.empty(room, np.int32)
    links = np.empty(room, np.int32)
    count = 0
    filled = 0  # of text
    begin = 0  # of the line that is open
    newlines = 2
    depth = 0  # lists that are open
    heading = 0
    paragraph = False
    item = False
    pre = False
    link = False
    fresh = False  # a link of which this line has shown nothing yet
    in_links = 0
    link_count = 0
    at = 0
    while at <= n:
        byte = data[at] if at < n else np.uint8(10)
        tag = np.uint8(0)
        digit = np.uint8(0)
        closing = False
        if byte == 60 and at < n:
            i = at + 1
            if i < n and data[i] == 47:
                closing = True
                i += 1
            tag = data[i] if i < n else np.uint8(0)
            digit = data[i + 1] if i + 1 < n else np.uint8(0)
            while i < n and data[i] != 62:
                if data[i] == 34:
                    i += 1
                    while i < n and data[i] != 34:
                        i += 1
                i += 1
            if tag == 97:  # a; an empty address (`href=""`) is a mark in the text, no link
                link = not closing and at + 9 < n and data[at + 9] != 34
                fresh = link
                at = i + 1
                continue
            at = i + 1
        elif byte != 10:
            size = 1
            if byte == 38:
                byte, size = _entity(data, at)
            at += size
            if filled > begin or pre or (byte != 32 and byte != 9):
                text[filled] = byte
                filled += 1
                if link and byte != 32:
                    in_links += 1
                    if fresh:
                        link_count += 1
                        fresh = False
            continue
        else:
            at += 1
        # The line ends here.
        end = filled
        while end > begin and text[end - 1] <= 32:
            end -= 1
        shown = _shows(text, begin, end)
        if shown:
            starts[count] = begin
            ends[count] = end
            breaks[count] = min(newlines, 2)
            levels[count] = heading if heading else depth
            if pre:
                kinds[count] = PREFORMATTED
            elif heading:
                kinds[count] = HEADING
            elif item:
                kinds[count] = ITEM
            elif paragraph:
                kinds[count] = PARAGRAPH
            else:
                kinds[count] = PLAIN
            linked[count] = in_links
            links[count] = link_count
            count += 1
            newlines = 0
            filled = end
        else:
            filled = begin
        begin = filled
        in_links = 0
        link_count = 0
        fresh = link
        if tag == 0:
            newlines += 1
        elif tag == 112 and digit == 114:  # pre
            pre = not closing
        elif tag == 112:  # p
            paragraph = not closing
        elif tag == 104:  # h1 to h6
            heading = 0 if closing else int(digit) - 48
        elif tag == 108:  # li
            item = not closing
        elif tag == 117 or tag == 111:  # ul, ol
            depth = max(depth - 1, 0) if closing else min(depth + 1, 255)
            item = False
        elif not shown:  # a br of its own
            newlines += 1
    return (
        text[:filled], starts[:count], ends[:count], breaks[:count], kinds[:count], levels[:count],
        linked[:count], links[:count],
    )  # fmt: skip


def lines(markup: str) -> Lines:
    """Lines of a page given as resiliparse's minimal HTML with links and without alt texts."""
    return Lines(*_lines(np.frombuffer(markup.encode(), np.uint8)))


@compiled
def _joined(text, starts, ends, breaks, kinds, keep):  # type: ignore[no-untyped-def]
    out = np.empty(len(text) + 2 * len(starts), np.uint8)
    filled = 0
    apart = 0  # newlines since the last kept line, with those of lines that were dropped
    for i in range(len(starts)):
        apart = max(apart, breaks[i])
        if not keep[i]:
            continue
        at = starts[i]
        if filled:
            for _ in range(2 if apart > 1 else 1):
                out[filled] = 10
                filled += 1
        if not filled or kinds[i] != PREFORMATTED:
            while at < ends[i] and (text[at] == 32 or text[at] == 9):
                at += 1
        for k in range(at, ends[i]):
            out[filled] = text[k]
            filled += 1
        apart = 0
    return out[:filled]


def joined(found: Lines, keep: np.ndarray) -> str:
    """The kept lines (`keep` bool (n)) as one text, paragraphs apart by an empty line."""
    columns = (found.starts, found.ends, found.breaks, found.kind)
    return str(_joined(found.text, *columns, keep).tobytes(), "utf-8")
