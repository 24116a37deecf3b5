"""The lines of text of a page, with what the tags around them say; and one text of some of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skywright.engine.compiled import compiled

PLAIN, PARAGRAPH, HEADING, ITEM, PREFORMATTED = range(5)
"""What a line stands in: `Lines.kind`."""


class Lines(NamedTuple):
    """The n lines of a page that show anything, in order.

    text uint8: UTF-8 without markup. All others int64 (n): starts, ends into the text; breaks:
    newlines before the line, at most 2; kind; level of the heading, or how many lists are open;
    linked: bytes inside links, links: their number. And of the line's first character: near, far:
    masks of the hints of the three nearest elements and of all; depth: nesting; group, outer:
    number of the nearest block and of the block around it; in_link: 1 inside a link.
    """

    text: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    breaks: np.ndarray
    kind: np.ndarray
    level: np.ndarray
    linked: np.ndarray
    links: np.ndarray
    near: np.ndarray
    far: np.ndarray
    depth: np.ndarray
    group: np.ndarray
    outer: np.ndarray
    in_link: np.ndarray


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
