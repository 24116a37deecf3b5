"""What the model sees of a line: the line itself, its neighbours, its page, the elements around it.

Three passes over a page's lines: each line alone (`_measure`), its run of text in the scanned page
(`_match`), and everything together as one row of numbers (`_assemble`).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from skywright.corpus.extract import words
from skywright.corpus.extract.lines import Lines
from skywright.corpus.extract.scan import Runs
from skywright.engine.compiled import compiled

_FNV = np.uint64(0xCBF29CE484222325)  # FNV-1a, 64 bits
_PRIME = np.uint64(0x100000001B3)
_SLOT = np.uint64(4095)

_TEXT = len(words.TEXT_HINTS)
_HINTS = len(words.HINTS)

LINE = (
    "tokens", "letters_per_token", "linked", "links", "stops", "commas", "ending", "digits",
    "capitals", "separators", "han", *(f"word_{name}" for name in words.TEXT_HINTS), "kind",
    "level", "breaks", "opening", "upper",
)  # fmt: skip
"""Features of a line alone."""

_NEAR_BY = (-3, -2, -1, 1, 2, 3)
_OF_NEIGHBOURS = ("tokens", "linked", "ending", "word_function", "kind")
PAGE = (
    "page_lines", "page_tokens", "page_linked", "page_prose", "page_han", "place", "tokens_before",
    "prose_before", "of_longest", "prose_above", "prose_below", "prose_3", "prose_10", "linked_5",
    "after_first", "before_last", "repeated", "in_title",
)  # fmt: skip
AROUND = (
    "matched", "depth", "run_linked", "group_lines", "group_tokens", "group_prose", "group_linked",
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

_LINE = len(LINE)
_TOKENS, _LINKED, _ENDING, _KIND = (LINE.index(n) for n in ("tokens", "linked", "ending", "kind"))
_FUNCTION, _HAN, _WORDS = (
    LINE.index("word_function"),
    LINE.index("han"),
    LINE.index("word_function"),
)
_PAGE_AT = _LINE + len(_NEAR_BY) * len(_OF_NEIGHBOURS)
_AROUND_AT = _PAGE_AT + len(PAGE)
_HINTS_AT = _AROUND_AT + len(AROUND)
_COLUMNS = len(FEATURES)
_FAR = 50  # lines beyond which distance is all the same


@compiled
def _find(keys, values, h):  # type: ignore[no-untyped-def]
    slot = h & _SLOT
    while keys[slot] != 0:
        if keys[slot] == h:
            return values[slot]
        slot = (slot + np.uint64(1)) & _SLOT
    return np.int64(0)


@compiled
def _measure(text, starts, ends, keys, masks):  # type: ignore[no-untyped-def]
    """(rows float32 (n, line features), tokens int64 (n), hashes uint64 (n) of each line's words,
    letters uint8 and letter_starts int64 (n + 1): the lines' letters as `scan.solid` has them)."""
    n = len(starts)
    rows = np.zeros((n, _LINE), np.float32)
    token_counts = np.zeros(n, np.int64)
    hashes = np.zeros(n, np.uint64)
    letters = np.empty(len(text), np.uint8)
    letter_starts = np.zeros(n + 1, np.int64)
    filled = 0
    seen = np.zeros(_TEXT, np.int64)
    for i in range(n):
        at = starts[i]
        end = ends[i]
        seen[:] = 0
        tokens = 0
        latin = 0  # words in an alphabet
        small = 0
        big = 0
        capitals = 0
        digits = 0
        han = 0
        other = 0  # letters of other alphabets
        stops = 0
        commas = 0
        separators = 0
        ending = 0
        opening = -1
        h = _FNV
        length = 0
        previous_han = False
        han_state = _FNV
        line_hash = _FNV
        while at <= end:
            byte = text[at] if at < end else np.uint8(32)
            size = 1
            in_word = False
            is_han = False
            what = 0  # 1 stop, 2 comma, 3 separator, 4 colon, 5 opening quote, 6 closing quote
            if byte < 0x80:
                low = byte | 32
                if low >= 97 and low <= 122:
                    in_word = True
                    if byte == low:
                        small += 1
                    else:
                        big += 1
                        if length == 0:
                            capitals += 1
                elif byte >= 48 and byte <= 57:
                    in_word = True
                    digits += 1
                elif byte == 46 or byte == 33 or byte == 63:
                    follows = text[at + 1] if at + 1 < end else np.uint8(32)
                    if byte != 46 or follows in (32, 34, 39, 41, 0xE2, 9, 10, 91):
                        what = 1
                elif byte == 44 or byte == 59:
                    what = 2
                elif byte in (124, 47, 62, 60, 95, 35, 43, 61, 42):
                    what = 3
                elif byte == 58:
                    what = 4
                elif byte == 34 or byte == 39 or byte == 41:
                    what = 6
            elif byte < 0xE0:
                size = 2
                if byte >= 0xC3:
                    in_word = True
                    other += 1
                elif byte == 0xC2 and text[at + 1] in (0xB7, 0xBB, 0xAB, 0xA9, 0xAE):
                    what = 3
            elif byte < 0xF0:
                size = 3
                second = text[at + 1]
                third = text[at + 2]
                if byte == 0xE2:
                    if second == 0x80:
                        if third == 0xA6:
                            what = 1
                        elif third in (0x9C, 0x98):
                            what = 5
                        elif third in (0x9D, 0x99):
                            what = 6
                        elif third in (0xA2, 0xBA, 0xB9):
                            what = 3
                elif byte == 0xE3 and second == 0x80:
                    if third == 0x82:
                        what = 1
                    elif third == 0x81:
                        what = 2
                    elif third in (0x8C, 0x8A, 0x90):
                        what = 5
                    elif third in (0x8D, 0x8B, 0x91):
                        what = 6
                elif byte == 0xEF and second == 0xBC:
                    if third in (0x81, 0x9F):
                        what = 1
                    elif third in (0x8C, 0x9B):
                        what = 2
                    elif third == 0x9A:
                        what = 4
                    elif third == 0x89:
                        what = 6
                    elif third == 0x8F or third == 0x9E:
                        what = 3
                elif byte == 0xEF and second == 0xBD:
                    what = 3 if third == 0x9C else 0
                elif byte >= 0xE3:
                    is_han = True
                else:
                    in_word = True
                    other += 1
            else:
                size = 4
                is_han = True
            if opening < 0 and at < end and byte > 32:
                if is_han:
                    opening = 4
                elif byte >= 97 and byte <= 122:
                    opening = 2
                elif byte >= 65 and byte <= 90:
                    opening = 1
                elif byte >= 48 and byte <= 57:
                    opening = 3
                elif what == 5 or what == 6:
                    opening = 5
                else:
                    opening = 0
            if in_word:
                for k in range(at, at + size):
                    c = text[k]
                    h = (h ^ np.uint64(c | 32 if c >= 65 and c <= 90 else c)) * _PRIME
                length += 1
            elif length > 0:
                mask = _find(keys, masks, h)
                line_hash = (line_hash ^ h) * _PRIME
                for k in range(_TEXT):
                    seen[k] += (mask >> k) & 1
                tokens += 1
                latin += 1
                h = _FNV
                length = 0
            if is_han:
                single = _FNV
                pair = han_state
                for k in range(at, min(at + size, end)):
                    single = (single ^ np.uint64(text[k])) * _PRIME
                    pair = (pair ^ np.uint64(text[k])) * _PRIME
                mask = _find(keys, masks, single)
                if previous_han:
                    mask |= _find(keys, masks, pair)
                line_hash = (line_hash ^ single) * _PRIME
                for k in range(_TEXT):
                    seen[k] += (mask >> k) & 1
                tokens += 1
                han += 1
                han_state = single
            previous_han = is_han
            if what == 1:
                stops += 1
            elif what == 2:
                commas += 1
            elif what == 3:
                separators += 1
            if at < end:
                if what == 1:
                    ending = 1
                elif what == 2 or what == 4:
                    ending = 2
                elif what == 3:
                    ending = 3
                elif in_word or is_han:
                    ending = 0
                elif what == 6 and ending != 1:
                    ending = 4
                keep = 0
                if byte < 0x80:
                    keep = 1 if in_word else 0
                elif (
                    (size == 2 and byte >= 0xCE)
                    or size == 4
                    or (
                        size == 3
                        and byte != 0xE2
                        and byte != 0xEF
                        and not (byte == 0xE3 and text[at + 1] == 0x80)
                    )
                ):
                    keep = size
                for k in range(at, min(at + keep, end)):
                    letters[filled] = text[k]
                    filled += 1
            at += size
        letter_starts[i + 1] = filled
        token_counts[i] = tokens
        hashes[i] = line_hash
        alphabet = small + big + other
        per = np.float32(1.0 / max(tokens, 1))
        row = rows[i]
        row[0] = np.log2(1.0 + tokens)
        row[1] = (alphabet + digits) * np.float32(1.0 / max(latin, 1))
        row[4] = stops * per
        row[5] = commas * per
        row[6] = ending
        row[7] = digits * np.float32(1.0 / max(alphabet + digits + han, 1))
        row[8] = capitals * np.float32(1.0 / max(latin, 1))
        row[9] = separators * per
        row[10] = han * per
        row[11] = seen[0] * per
        for k in range(1, _TEXT):
            row[11 + k] = min(seen[k], 4)
        row[11 + _TEXT + 3] = opening
        row[11 + _TEXT + 4] = big * np.float32(1.0 / max(alphabet, 1))
    return rows, token_counts, hashes, letters[:filled], letter_starts


_PREFIX = 16  # letters by which a line is known in the scanned page
_SHORT = 6  # a line with fewer letters is looked for close by only
_CLOSE = 12  # runs
_AHEAD = 4000


@compiled
def _match(line_letters, line_starts, run_letters, run_starts):  # type: ignore[no-untyped-def]
    """The run of text at which each line begins, -1 where none does; lines and runs in order."""
    n = len(line_starts) - 1
    runs = len(run_starts) - 1
    found = np.full(n, -1, np.int64)
    expected = 0  # the run that should come next
    for i in range(n):
        size = line_starts[i + 1] - line_starts[i]
        if size == 0:
            continue
        length = min(size, _PREFIX)
        begin = line_starts[i]
        last = min(runs, expected + (_CLOSE if length < _SHORT else _AHEAD))
        for j in range(expected, last):
            at = run_starts[j]
            if at + length > len(run_letters) or run_letters[at] != line_letters[begin]:
                continue
            k = 1
            while k < length and run_letters[at + k] == line_letters[begin + k]:
                k += 1
            if k == length:
                found[i] = j
                # The next line begins where this one's letters end, or a little before.
                expected = j + 1
                while expected < runs and run_starts[expected] < at + size:
                    expected += 1
                break
    return found


@compiled
def _assemble(rows, tokens, hashes, found, near, far, depth, group, outer, run_linked, in_title):  # type: ignore[no-untyped-def]
    n = len(rows)
    out = np.zeros((n, _COLUMNS), np.float32)
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
        linked_tokens += rows[i, _LINKED] * tokens[i]
        han_tokens += rows[i, _HAN] * tokens[i]
        if (
            tokens[i] >= 10
            and rows[i, _LINKED] < 0.4
            and (rows[i, _FUNCTION] >= 0.2 or (rows[i, _FUNCTION] >= 0.04 and rows[i, _HAN] > 0.5))
        ):
            prose[i] = tokens[i]
            all_prose += tokens[i]
            longest = max(longest, tokens[i])
            if first < 0:
                first = i
            last = i
    # Blocks of the page: numbers are dense from 1, 0 is outside of all.
    blocks = 1
    here = np.zeros(n, np.int64)
    above = np.zeros(n, np.int64)
    level = np.zeros(n, np.int64)
    run = np.full(n, -1, np.int64)
    known = -1
    for i in range(n):
        if found[i] >= 0:
            known = found[i]
        run[i] = known
        if known >= 0:
            here[i] = group[known]
            above[i] = outer[known]
            level[i] = depth[known]
            blocks = max(blocks, max(here[i], above[i]) + 1)
    block_lines = np.zeros(blocks, np.int64)
    block_tokens = np.zeros(blocks, np.int64)
    block_prose = np.zeros(blocks, np.int64)
    block_linked = np.zeros(blocks, np.float64)
    wide_tokens = np.zeros(blocks, np.int64)  # of a block and the blocks right inside it
    wide_prose = np.zeros(blocks, np.int64)
    wide_linked = np.zeros(blocks, np.float64)
    for i in range(n):
        g = here[i]
        block_lines[g] += 1
        block_tokens[g] += tokens[i]
        block_prose[g] += prose[i]
        block_linked[g] += rows[i, _LINKED] * tokens[i]
        for b in (g, above[i]):
            wide_tokens[b] += tokens[i]
            wide_prose[b] += prose[i]
            wide_linked[b] += rows[i, _LINKED] * tokens[i]
            if g == above[i]:
                break
    main = 0
    for b in range(1, blocks):
        if block_prose[b] > block_prose[main]:
            main = b
    main_above = 0
    main_level = 0
    for i in range(n):
        if here[i] == main:
            main_above = above[i]
            main_level = level[i]
            break
    tokens_sum = np.zeros(n + 1, np.int64)
    prose_sum = np.zeros(n + 1, np.int64)
    linked_sum = np.zeros(n + 1, np.float64)
    prose_after = np.full(n + 1, n + _FAR, np.int64)  # the first line of prose from here on
    for i in range(n):
        tokens_sum[i + 1] = tokens_sum[i] + tokens[i]
        prose_sum[i + 1] = prose_sum[i] + prose[i]
        linked_sum[i + 1] = linked_sum[i] + rows[i, _LINKED] * tokens[i]
    for i in range(n - 1, -1, -1):
        prose_after[i] = i if prose[i] > 0 else prose_after[i + 1]
    sorted_hashes = np.sort(hashes)
    prose_before = -_FAR
    per_page = np.float32(1.0 / max(total, 1))
    per_prose = np.float32(1.0 / max(all_prose, 1))
    for i in range(n):
        row = out[i]
        row[:_LINE] = rows[i]
        at = _LINE
        for by in (-3, -2, -1, 1, 2, 3):
            j = i + by
            if j >= 0 and j < n:
                row[at] = rows[j, _TOKENS]
                row[at + 1] = rows[j, _LINKED]
                row[at + 2] = rows[j, _ENDING]
                row[at + 3] = rows[j, _FUNCTION]
                row[at + 4] = rows[j, _KIND]
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
        g = here[i]
        o = above[i]
        r = run[i]
        row[at] = found[i] >= 0
        row[at + 1] = level[i]
        row[at + 2] = run_linked[r] if r >= 0 else 0
        row[at + 3] = np.log2(1.0 + block_lines[g])
        row[at + 4] = np.log2(1.0 + block_tokens[g])
        row[at + 5] = block_prose[g] * per_prose
        row[at + 6] = block_linked[g] / max(block_tokens[g], 1)
        row[at + 7] = np.log2(1.0 + wide_tokens[o])
        row[at + 8] = wide_prose[o] * per_prose
        row[at + 9] = wide_linked[o] / max(wide_tokens[o], 1)
        row[at + 10] = g == main
        row[at + 11] = (g == main) + (o == main) + 2 * (o == main_above)
        row[at + 12] = level[i] - main_level
        row[at + 13] = i > 0 and here[i - 1] == g
        row[at + 14] = i + 1 < n and here[i + 1] == g
        at += 15
        if r >= 0:
            for k in range(_HINTS):
                row[at + k] = (near[r] >> k) & 1
                row[at + _HINTS + k] = (far[r] >> k) & 1
        if prose[i] > 0:
            prose_before = i
    return out, here, above


@cache
def _table() -> tuple[np.ndarray, np.ndarray]:
    return words.text_table()


def _title_share(lines: Lines, title: str | None) -> np.ndarray:
    """Whether a line is a part of the page's title, or the title a part of it."""
    shares = np.zeros(len(lines.starts), np.float32)
    wanted = " ".join((title or "").split()).encode()
    if len(wanted) < 4:
        return shares
    text = lines.text.tobytes()
    for i, (start, end) in enumerate(zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)):
        if 4 <= end - start <= 400 and text[start:end] in wanted:
            shares[i] = (end - start) / len(wanted)
        elif 0 <= end - start - len(wanted) <= 20 and wanted in text[start:end]:
            shares[i] = 1
    return shares


class Rows(NamedTuple):
    """What the first model sees of n lines, and what the second one needs to look around.

    rows float32 (n, len(FEATURES)); tokens int64 (n); group, outer int64 (n): number of the block
    that a line stands in and of the block around that.
    """

    rows: np.ndarray
    tokens: np.ndarray
    group: np.ndarray
    outer: np.ndarray


def features(lines: Lines, runs: Runs, title: str | None) -> Rows:
    """Features of a page's lines."""
    keys, masks = _table()
    rows, tokens, hashes, letters, starts = _measure(
        lines.text, lines.starts, lines.ends, keys, masks
    )
    sizes = np.maximum(lines.ends - lines.starts, 1)
    rows[:, _LINKED] = np.minimum(lines.linked / sizes, 1)
    rows[:, _LINKED + 1] = np.minimum(lines.links, 20)
    at = LINE.index("kind")
    rows[:, at], rows[:, at + 1], rows[:, at + 2] = lines.kind, lines.level, lines.breaks
    found = _match(letters, starts, runs.letters, runs.starts)
    out, group, outer = _assemble(
        rows, tokens, hashes, found, runs.near, runs.far, runs.depth, runs.group, runs.outer,
        runs.linked, _title_share(lines, title),
    )  # fmt: skip
    return Rows(out, tokens, group, outer)


_BESIDE = 4
CONTEXT = (
    "score",
    *(f"score{by:+d}" for by in range(-_BESIDE, _BESIDE + 1) if by),
    "group_score", "outer_score", "page_score", "best_score", "group_of_best", "outer_of_best",
    "kept_above", "kept_below", "run_above", "run_below", "main_share",
)  # fmt: skip
"""What the second model sees beside the line's own features (`OWN`): scores of the first around
a line."""
OWN = (
    "tokens", "linked", "ending", "digits", "word_function", "word_legal", "word_byline", "kind",
    "breaks", "in_title", "page_lines", "page_tokens", "place", "of_longest", "main_depth",
)  # fmt: skip
_OWN = np.array([FEATURES.index(name) for name in OWN])


@compiled
def _context(scores, tokens, group, outer):  # type: ignore[no-untyped-def]
    n = len(scores)
    out = np.full((n, 20), -1.0, np.float32)
    blocks = 1
    for i in range(n):
        blocks = max(blocks, max(group[i], outer[i]) + 1)
    weight = np.zeros(blocks, np.float64)  # tokens of a block
    mass = np.zeros(blocks, np.float64)  # the same times their scores
    wide_weight = np.zeros(blocks, np.float64)
    wide_mass = np.zeros(blocks, np.float64)
    total = 0.0
    all_mass = 0.0
    best = np.float32(0.0)
    for i in range(n):
        g = group[i]
        m = tokens[i] * scores[i]
        weight[g] += tokens[i]
        mass[g] += m
        wide_weight[g] += tokens[i]
        wide_mass[g] += m
        if outer[i] != g:
            wide_weight[outer[i]] += tokens[i]
            wide_mass[outer[i]] += m
        total += tokens[i]
        all_mass += m
        best = max(best, scores[i])
    most = max(np.max(mass), 1e-6)
    widest = max(np.max(wide_mass), 1e-6)
    above = 0.0
    run = 0
    for i in range(n):
        row = out[i]
        row[0] = scores[i]
        at = 1
        for by in (-4, -3, -2, -1, 1, 2, 3, 4):
            if i + by >= 0 and i + by < n:
                row[at] = scores[i + by]
            at += 1
        g = group[i]
        o = outer[i]
        row[9] = mass[g] / max(weight[g], 1.0)
        row[10] = wide_mass[o] / max(wide_weight[o], 1.0)
        row[11] = all_mass / max(total, 1.0)
        row[12] = best
        row[13] = mass[g] / most
        row[14] = wide_mass[o] / widest
        row[15] = above / max(all_mass, 1e-6)
        above += tokens[i] * scores[i]
        row[16] = 1.0 - above / max(all_mass, 1e-6)
        row[17] = min(run, 50)
        run = 0 if scores[i] > 0.5 else run + 1
        row[19] = most / max(all_mass, 1e-6)
    run = 0
    for i in range(n - 1, -1, -1):
        out[i, 18] = min(run, 50)
        run = 0 if scores[i] > 0.5 else run + 1
    return out


def context(found: Rows, scores: np.ndarray) -> np.ndarray:
    """Rows float32 (n, len(CONTEXT) + len(OWN)) for the second model."""
    around = _context(scores.astype(np.float32), found.tokens, found.group, found.outer)
    return np.concatenate([around, found.rows[:, _OWN]], axis=1)
