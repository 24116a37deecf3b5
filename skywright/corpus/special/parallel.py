"""Parallel text, Chinese and English: whole paragraphs beside each other, and whether they match.

A pair is checked by what a translation keeps: its length, and its anchors (numbers, Latin words and
names, URLs, code) that stand unchanged on both sides. No model is needed; a pair without anchors is
judged by its length alone, and says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import Field

from skywright.config import Config

CHARS_RATIO = 0.30
"""Han characters for each solid English one in a translation: the median over 53 pairs of pages of
the Debian Administrator's Handbook (quartiles .27 and .32), see docs/code.md."""

_ANCHOR = re.compile(r"[A-Za-z][A-Za-z0-9_.+/-]{2,}|[0-9]+(?:\.[0-9]+)?")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SPACE = re.compile(r"\s+")


class AlignmentConfig(Config):
    """When two paragraphs are translations of each other.

    `max_log_ratio`: how far the logarithm of the length ratio may be from the usual one (ln 2 is
    half or double). `min_anchors`: the share of anchors of the Chinese side that the English one
    has. `min_chars`: paragraphs with fewer solid characters on the English side are no evidence.
    """

    max_log_ratio: float = Field(default=0.7, gt=0)
    min_anchors: float = Field(default=0.5, ge=0, le=1)
    min_chars: int = Field(default=20, ge=0)


class Alignment(NamedTuple):
    """log_ratio: ln(Chinese / English length) less the usual; anchors: share of the Chinese side's
    that the English one has, nan without any; aligned: both within the bounds.
    """

    log_ratio: float
    anchors: float
    aligned: bool


def check(zh: str, en: str, config: AlignmentConfig | None = None) -> Alignment:
    """Whether two paragraphs look like translations of each other."""
    config = config or AlignmentConfig()
    sizes = [len(_SPACE.sub("", side)) for side in (zh, en)]
    if min(sizes) == 0:
        return Alignment(float("inf"), float("nan"), False)
    log_ratio = float(np.log(sizes[0] / sizes[1] / expected_ratio(zh)))
    ours, theirs = anchors(zh), anchors(en)
    share = sum((ours & theirs).values()) / sum(ours.values()) if ours else float("nan")
    fits = abs(log_ratio) <= config.max_log_ratio and sizes[1] >= config.min_chars
    return Alignment(log_ratio, share, fits and not share < config.min_anchors)


def expected_ratio(zh: str) -> float:
    """Length of a Chinese paragraph over that of its translation: Latin parts translate to
    themselves, Han characters to 1 / CHARS_RATIO characters each.
    """
    han = len(_HAN.findall(zh))
    other = len(_SPACE.sub("", zh)) - han
    return (han + other) / (han / CHARS_RATIO + other)


def anchors(text: str) -> Counter[str]:
    """What a translation leaves as it is, in lower case, with counts."""
    return Counter(match.group().lower().rstrip(".-/") for match in _ANCHOR.finditer(text))


def paragraphs(text: str) -> list[str]:
    """The lines of a text that are not blank."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def align(
    zh: Sequence[str], en: Sequence[str], config: AlignmentConfig | None = None
) -> list[tuple[int, int]]:
    """Pairs (row of zh, row of en) of paragraphs that match, in order, each used once.

    The monotone path of the highest total (Gale and Church 1993, with anchors in place of their
    merging of sentences): a matching pair is worth 1 + its anchor share - its distance in length.
    """
    config = config or AlignmentConfig()
    n, m = len(zh), len(en)
    gain = np.zeros((n, m))
    for i in range(n):
        for j in range(m):
            found = check(zh[i], en[j], config)
            if found.aligned:
                gain[i, j] = 1 + np.nan_to_num(found.anchors) - abs(found.log_ratio)
    best = np.zeros((n + 1, m + 1))
    for i in range(n):
        for j in range(m):
            best[i + 1, j + 1] = max(best[i, j + 1], best[i + 1, j], best[i, j] + gain[i, j])
    pairs = []
    i, j = n, m
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            pairs.append((i - 1, j - 1))
            i, j = i - 1, j - 1
    return pairs[::-1]


def render(pairs: Iterable[tuple[str, str]], zh_first: bool = True) -> str:
    """A document of parallel text: each paragraph with its counterpart on the next line."""
    parts = ["\n".join(pair if zh_first else pair[::-1]) for pair in pairs]
    return "\n\n".join(parts)
