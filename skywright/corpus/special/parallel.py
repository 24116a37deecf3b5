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

from skywright.corpus.special.config import AlignmentConfig

CHARS_RATIO = 0.30
"""Han characters for each solid English one in a translation: the median over 53 pairs of pages of
the Debian Administrator's Handbook (quartiles .27 and .32), see docs/code.md."""

_ANCHOR = re.compile(r"[A-Za-z][A-Za-z0-9_.+/-]{2,}|[0-9]+(?:\.[0-9]+)?")
_HAN = re.compile(r"[\u3400-\u9fff]")
_SPACE = re.compile(r"\s+")


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
    sizes = [_solid(side) for side in (zh, en)]
    if min(sizes) == 0:
        return Alignment(float("inf"), float("nan"), False)
    log_ratio = float(np.log(sizes[0] / sizes[1] / expected_ratio(zh)))
    share = _shared(anchors(zh), anchors(en))
    fits = abs(log_ratio) <= config.max_log_ratio and sizes[1] >= config.min_chars
    return Alignment(log_ratio, share, fits and not share < config.min_anchors)


def _solid(text: str) -> int:
    """Characters that are no white space."""
    return len(_SPACE.sub("", text))


def _shared(ours: Counter[str], theirs: Counter[str]) -> float:
    """The share of our anchors that stand on the other side too; nan without any."""
    return sum((ours & theirs).values()) / sum(ours.values()) if ours else float("nan")


def expected_ratio(zh: str) -> float:
    """Length of a Chinese paragraph over that of its translation: Latin parts translate to
    themselves, Han characters to 1 / CHARS_RATIO characters each.
    """
    han = len(_HAN.findall(zh))
    other = _solid(zh) - han
    if han + other == 0:
        return 1.0
    return (han + other) / (han / CHARS_RATIO + other)


def is_chinese(text: str) -> bool:
    """Whether a paragraph has a Han character."""
    return _HAN.search(text) is not None


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
    gain = _gains(zh, en, config)
    best = np.zeros((n + 1, m + 1))
    for i in range(n):
        best[i + 1, 1:] = np.maximum.accumulate(np.maximum(best[i, 1:], best[i, :-1] + gain[i]))
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


def _gains(zh: Sequence[str], en: Sequence[str], config: AlignmentConfig) -> np.ndarray:
    """What a pair of paragraphs is worth, 0 where `check` finds no match; (zh, en)."""
    sizes = [np.array([_solid(text) for text in side], float) for side in (zh, en)]
    usual = np.array([expected_ratio(text) for text in zh], float)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(np.log(sizes[0][:, None] / sizes[1][None, :] / usual[:, None]))
    fits = (distance <= config.max_log_ratio) & (sizes[1] >= config.min_chars)[None, :]
    ours, theirs = [anchors(text) for text in zh], [anchors(text) for text in en]
    gain = np.zeros((len(zh), len(en)))
    for i, j in np.argwhere(fits).tolist():
        share = _shared(ours[i], theirs[j])
        if not share < config.min_anchors:
            gain[i, j] = 1 + np.nan_to_num(share) - distance[i, j]
    return gain


def render(pairs: Iterable[tuple[str, str]], zh_first: bool = True) -> str:
    """A document of parallel text: each paragraph with its counterpart on the next line.

    What is the same in both (a command, a paragraph left untranslated) stands once.
    """
    parts = ["\n".join(dict.fromkeys(pair if zh_first else pair[::-1])) for pair in pairs]
    return "\n\n".join(parts)
