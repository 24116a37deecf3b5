"""What the model sees of a line: the line itself, its neighbours, its page, the elements around it.

Two passes over a page's lines: each line alone (`line_features`), and everything together as one
row of numbers (`_assemble`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skywright.corpus.extract import words
from skywright.corpus.extract.line_features import LINE, measure
from skywright.corpus.extract.lines import Lines
from skywright.engine.compiled import compiled

_NEAR_BY = (-3, -2, -1, 1, 2, 3)
_OF_NEIGHBOURS = ("tokens", "linked", "ending", "word_function", "kind")
PAGE = (
    "page_lines", "page_tokens", "page_linked", "page_prose", "page_han", "place", "tokens_before",
    "prose_before", "of_longest", "prose_above", "prose_below", "prose_3", "prose_10", "linked_5",
    "after_first", "before_last", "repeated", "in_title",
)  # fmt: skip
AROUND = (
    "depth", "in_link", "group_lines", "group_tokens", "group_prose", "group_linked",
    "outer_tokens", "outer_prose", "outer_linked", "main_group", "main_outer", "main_depth",
    "group_as_above", "group_as_below",
)  # fmt: skip
FEATURES = (
    *LINE,
    *(f"{name}{by:+d}" for by in _NEAR_BY for name in _OF_NEIGHBOURS),
    *PAGE,
    *AROUND,
    *(f"near_{name}" for name in words.HINTS),
    *(f"far_{name}" for name in words.HINTS),
)
"""Names of the columns, in order."""

_PLACES = (
    *(LINE.index(n) for n in ("tokens", "linked", "ending", "word_function", "kind", "han")),
    len(FEATURES),
)
_FAR = 50  # lines beyond which distance is all the same


@compiled
def _assemble(  # type: ignore[no-untyped-def]
    rows, tokens, hashes, near, far, depth, group, outer, in_link, in_title, columns,
    hints,
):  # fmt: skip
    n = len(rows)
    line_width = rows.shape[1]
    tokens_at, linked_at, ending_at, function_at, kind_at, han_at, width = columns
    out = np.zeros((n, width), np.float32)
    prose = np.zeros(n, np.int64)  # tokens of lines that read like sentences
    total = 0
    all_prose = 0
    linked_tokens = 0.0
    han_tokens = 0.0
    longest = 1
    first = -1
    last = -1
    for i in range(n):
        total += tokens[i]
        linked_tokens += rows[i, linked_at] * tokens[i]
        han_tokens += rows[i, han_at] * tokens[i]
        if (
            tokens[i] >= 10
            and rows[i, linked_at] < 0.4
            and (
                rows[i, function_at] >= 0.2
                or (rows[i, function_at] >= 0.04 and rows[i, han_at] > 0.5)
            )
        ):
            prose[i] = tokens[i]
            all_prose += tokens[i]
            longest = max(longest, tokens[i])
            if first < 0:
                first = i
            last = i
    # Blocks of the page: numbers are dense from 1, 0 is outside of all.
    blocks = 1
    for i in range(n):
        blocks = max(blocks, max(group[i], outer[i]) + 1)
    block_lines = np.zeros(blocks, np.int64)
    block_tokens = np.zeros(blocks, np.int64)
    block_prose = np.zeros(blocks, np.int64)
    block_linked = np.zeros(blocks, np.float64)
    wide_tokens = np.zeros(blocks, np.int64)  # of a block and the blocks right inside it
    wide_prose = np.zeros(blocks, np.int64)
    wide_linked = np.zeros(blocks, np.float64)
    for i in range(n):
        g = group[i]
        block_lines[g] += 1
        block_tokens[g] += tokens[i]
        block_prose[g] += prose[i]
        block_linked[g] += rows[i, linked_at] * tokens[i]
        for b in (g, outer[i]):
            wide_tokens[b] += tokens[i]
            wide_prose[b] += prose[i]
            wide_linked[b] += rows[i, linked_at] * tokens[i]
            if g == outer[i]:
                break
    main = 0  # the block with most prose
    for b in range(1, blocks):
        if block_prose[b] > block_prose[main]:
            main = b
    main_above = 0
    main_level = 0
    for i in range(n):
        if group[i] == main:
            main_above = outer[i]
            main_level = depth[i]
            break
    tokens_sum = np.zeros(n + 1, np.int64)
    prose_sum = np.zeros(n + 1, np.int64)
    linked_sum = np.zeros(n + 1, np.float64)
    prose_after = np.full(n + 1, n + _FAR, np.int64)  # the first line of prose from here on
    for i in range(n):
        tokens_sum[i + 1] = tokens_sum[i] + tokens[i]
        prose_sum[i + 1] = prose_sum[i] + prose[i]
        linked_sum[i + 1] = linked_sum[i] + rows[i, linked_at] * tokens[i]
    for i in range(n - 1, -1, -1):
        prose_after[i] = i if prose[i] > 0 else prose_after[i + 1]
    sorted_hashes = np.sort(hashes)
    prose_before = -_FAR
    per_page = np.float32(1.0 / max(total, 1))
    per_prose = np.float32(1.0 / max(all_prose, 1))
    for i in range(n):
        row = out[i]
        row[:line_width] = rows[i]
        at = line_width
        for by in _NEAR_BY:
            j = i + by
            if j >= 0 and j < n:
                row[at] = rows[j, tokens_at]
                row[at + 1] = rows[j, linked_at]
                row[at + 2] = rows[j, ending_at]
                row[at + 3] = rows[j, function_at]
                row[at + 4] = rows[j, kind_at]
            else:
                row[at : at + 5] = -1
            at += 5
        row[at] = np.log2(1.0 + n)
        row[at + 1] = np.log2(1.0 + total)
        row[at + 2] = linked_tokens * per_page
        row[at + 3] = np.log2(1.0 + all_prose)
        row[at + 4] = han_tokens * per_page
        row[at + 5] = i / n
        row[at + 6] = tokens_sum[i] * per_page
        row[at + 7] = prose_sum[i] * per_prose
        row[at + 8] = tokens[i] / longest
        row[at + 9] = min(i - prose_before, _FAR)
        row[at + 10] = min(prose_after[i + 1] - i, _FAR)
        low = max(i - 3, 0)
        high = min(i + 4, n)
        row[at + 11] = np.log2(1.0 + prose_sum[high] - prose_sum[low])
        low = max(i - 10, 0)
        high = min(i + 11, n)
        row[at + 12] = np.log2(1.0 + prose_sum[high] - prose_sum[low])
        low = max(i - 5, 0)
        high = min(i + 6, n)
        row[at + 13] = (linked_sum[high] - linked_sum[low]) / max(
            tokens_sum[high] - tokens_sum[low], 1
        )
        row[at + 14] = min(max(i - first, -_FAR), _FAR)
        row[at + 15] = min(max(last - i, -_FAR), _FAR)
        same = np.searchsorted(sorted_hashes, hashes[i])
        copies = 0
        while same < n and sorted_hashes[same] == hashes[i] and copies < 4:
            copies += 1
            same += 1
        row[at + 16] = copies
        row[at + 17] = in_title[i]
        at += 18
        g = group[i]
        o = outer[i]
        row[at] = depth[i]
        row[at + 1] = in_link[i]
        row[at + 2] = np.log2(1.0 + block_lines[g])
        row[at + 3] = np.log2(1.0 + block_tokens[g])
        row[at + 4] = block_prose[g] * per_prose
        row[at + 5] = block_linked[g] / max(block_tokens[g], 1)
        row[at + 6] = np.log2(1.0 + wide_tokens[o])
        row[at + 7] = wide_prose[o] * per_prose
        row[at + 8] = wide_linked[o] / max(wide_tokens[o], 1)
        row[at + 9] = g == main
        row[at + 10] = (g == main) + (o == main) + 2 * (o == main_above)
        row[at + 11] = depth[i] - main_level
        row[at + 12] = i > 0 and group[i - 1] == g
        row[at + 13] = i + 1 < n and group[i + 1] == g
        at += 14
        for k in range(hints):
            row[at + k] = (near[i] >> k) & 1
            row[at + hints + k] = (far[i] >> k) & 1
        if prose[i] > 0:
            prose_before = i
    return out


@compiled
def _holds(whole, start, end, part, first, last):  # type: ignore[no-untyped-def]
    """Whether `part[first:last]` stands in `whole[start:end]`."""
    size = last - first
    for at in range(start, end - size + 1):
        k = 0
        while k < size and whole[at + k] == part[first + k]:
            k += 1
        if k == size:
            return True
    return False


@compiled
def _title_shares(text, starts, ends, title):  # type: ignore[no-untyped-def]
    shares = np.zeros(len(starts), np.float32)
    wanted = len(title)
    if wanted < 4:
        return shares
    for i in range(len(starts)):
        size = ends[i] - starts[i]
        if size < 4 or size > wanted + 20:
            continue
        if size <= min(wanted, 400) and _holds(title, 0, wanted, text, starts[i], ends[i]):
            shares[i] = np.float32(size / wanted)
        elif size >= wanted and _holds(text, starts[i], ends[i], title, 0, wanted):
            shares[i] = 1
    return shares


def _title_share(lines: Lines, title: str | None) -> np.ndarray:
    """How much of the page's title a line is, 1 where it holds all of it; float32 (n)."""
    wanted = np.frombuffer(" ".join((title or "").split()).encode(), np.uint8)
    return np.asarray(_title_shares(lines.text, lines.starts, lines.ends, wanted))


class Rows(NamedTuple):
    """What the first model sees of n lines, and what the second one needs to look around.

    rows float32 (n, len(FEATURES)); tokens int64 (n); group, outer int64 (n): number of the block
    that a line stands in and of the block around that.
    """

    rows: np.ndarray
    tokens: np.ndarray
    group: np.ndarray
    outer: np.ndarray


def features(lines: Lines, title: str | None) -> Rows:
    """Features of a page's lines."""
    line = measure(lines)
    around = (lines.near, lines.far, lines.depth, lines.group, lines.outer, lines.in_link)
    rows = _assemble(
        line.rows, line.tokens, line.hashes, *around, _title_share(lines, title), _PLACES,
        len(words.HINTS),
    )  # fmt: skip
    return Rows(rows, line.tokens, lines.group, lines.outer)
