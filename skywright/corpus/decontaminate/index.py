"""Benchmarks ready to be looked for, and the search itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from skywright.corpus import fold
from skywright.corpus.decontaminate import kernels
from skywright.corpus.dedup.overlap import directory

WIDTH = 5  # allenai/decon's n-gram width (config/default.yaml)
MIN_TOKENS = 20
"""Shorter items are not looked for: too little to tell from chance (allenai/decon: fewer than 20
tokens or 4 different words)."""
MIN_DISTINCT = 4
MAX_ITEMS_A_GRAM = 64
"""An n-gram of more items says nothing about one ("which of the following is")."""

FULL_TOKENS = 50  # from so many tokens the threshold is the recipe's; below, it rises to 1 at 20


class Item(NamedTuple):
    """One item of a benchmark. `id` names it in the report; `answer` may be empty."""

    benchmark: str
    id: str
    question: str
    answer: str = ""


class Hit(NamedTuple):
    """An item found in a document: `start`, `end` in tokens of the document; scores 0 to 1.

    `answer_score` is the share of the answer's weight near the question, nan if it has none that
    can be looked for.
    """

    row: int
    item: int
    score: float
    threshold: float
    answer_score: float
    start: int
    end: int


def threshold_of(tokens: int, threshold: float) -> float:
    """The score an item of so many tokens needs: exact at MIN_TOKENS, `threshold` at FULL_TOKENS.

    Linear between them (allenai/decon's idea: the shorter an item, the more of it must be there).
    """
    if tokens >= FULL_TOKENS:
        return threshold
    share = (tokens - MIN_TOKENS) / (FULL_TOKENS - MIN_TOKENS)
    return 1.0 - (1.0 - threshold) * max(0.0, share)


@dataclass(frozen=True)
class _Side:
    """The n-grams of one side of all items (questions, or answers)."""

    keys: np.ndarray
    starts: np.ndarray
    bits: int
    begins: np.ndarray
    postings: np.ndarray
    idf: np.ndarray
    sizes: np.ndarray
    lengths: np.ndarray
    searchable: np.ndarray

    @classmethod
    def build(cls, texts: Sequence[str]) -> _Side:
        """Index texts by their place; what is too short or too common is not searchable."""
        hashes: list[np.ndarray] = []
        for chunk, offsets, _, _ in kernels.tokens(pa.array(texts, pa.string())):
            hashes += np.split(chunk, offsets[1:-1])
        lengths = np.array([len(item) for item in hashes], np.int64)
        enough = np.array(
            [len(item) >= MIN_TOKENS and len(np.unique(item)) >= MIN_DISTINCT for item in hashes],
            bool,
        )
        empty = np.zeros(0, np.uint64)
        sets = [
            np.unique(kernels.grams(item, WIDTH)) if ok else empty
            for item, ok in zip(hashes, enough, strict=True)
        ]
        flat = np.concatenate([empty, *sets])
        owners = np.repeat(np.arange(len(sets)), [len(item) for item in sets])
        order = np.argsort(flat, kind="stable")
        keys, counts = np.unique(flat[order], return_counts=True)
        owners = owners[order]
        # Common n-grams have no postings and no weight, on either side of the share.
        common = counts > MAX_ITEMS_A_GRAM
        kept = ~np.repeat(common, counts)
        idf = np.where(common, 0.0, np.log(max(2, len(texts)) / counts) + 1e-9)
        sizes = np.zeros(len(texts))
        np.add.at(sizes, owners[kept], np.repeat(idf, counts)[kept])
        counts = np.where(common, 0, counts)
        bits = max(1, len(keys).bit_length())
        return cls(
            keys, directory(keys, bits), bits,
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), owners[kept], idf, sizes,
            lengths, enough & (sizes > 0),
        )  # fmt: skip

    def search(
        self, hashes: np.ndarray, offsets: np.ndarray, floor: float
    ) -> tuple[np.ndarray, np.ndarray]:
        return kernels.search(
            hashes, offsets, WIDTH, self.keys, self.starts, self.bits, self.begins, self.postings,
            self.idf, self.sizes, self.lengths, floor,
        )  # fmt: skip


@dataclass(frozen=True)
class Index:
    """Benchmark items, ready to be looked for."""

    items: tuple[Item, ...]
    questions: _Side
    answers: _Side

    @classmethod
    def build(cls, items: Sequence[Item]) -> Index:
        """Index items. Which of them can be looked for: `searchable`."""
        items = tuple(items)
        return cls(
            items,
            _Side.build([item.question for item in items]),
            _Side.build([item.answer for item in items]),
        )

    @property
    def searchable(self) -> np.ndarray:
        """Bool an item: long enough, and not made of common phrases alone."""
        return self.questions.searchable

    def find(self, texts: pa.Array | pa.ChunkedArray, threshold: float) -> list[Hit]:
        """Items found in each text, in the order of texts and items."""
        hits: list[Hit] = []
        first = 0
        for hashes, offsets, _, _ in kernels.tokens(texts):
            rows, scores = self.questions.search(hashes, offsets, threshold)
            for (row, item, start, end), score in zip(rows.tolist(), scores.tolist(), strict=True):
                needed = threshold_of(int(self.questions.lengths[item]), threshold)
                # 1e-6: sums of the same weights in another order
                if score >= needed - 1e-6:
                    document = hashes[offsets[row] : offsets[row + 1]]
                    answer = self._answer(document, item, start, end)
                    hits.append(Hit(first + row, item, score, needed, answer, start, end))
            first += len(offsets) - 1
        return hits

    def _answer(self, document: np.ndarray, item: int, start: int, end: int) -> float:
        side = self.answers
        if not side.searchable[item]:
            return math.nan
        reach = int(side.lengths[item]) * 2
        near = document[max(0, start - reach) : end + 1 + reach]
        rows, scores = side.search(near, np.array([0, len(near)], np.int64), 0.0)
        return float(max((s for r, s in zip(rows, scores, strict=True) if r[1] == item), default=0))


def character_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans of tokens (first, last) of a text as spans of its characters (start, end).

    Overlapping ones are joined. The text is read in the measure view, where format characters are
    left out; places are counted back to the text as it is.
    """
    ((_, _, begins, ends),) = kernels.tokens(pa.array([text]))
    tables = fold.tables()
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    shown = np.flatnonzero(tables.classes[tables.fold[codes]] & fold.IGNORED == 0)
    joined: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        start, end = int(shown[begins[first]]), int(shown[ends[last] - 1]) + 1
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
