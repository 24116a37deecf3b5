"""The models that keep or drop lines: boosted trees, shipped as plain numbers, read by a kernel.

`assets/lines.json` is written by `scripts/train_extractor.py`; it holds the trees of two models
(the second sees the first one's scores around a line), the threshold, and what they learned from.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from skywright.corpus.extract.context import CONTEXT, OWN, context
from skywright.corpus.extract.features import FEATURES, Rows
from skywright.engine.compiled import compiled

ASSET = "assets/lines.json"
RELAXED = 0.6
"""A page on which no line reaches the threshold keeps those of this share of its best score; the
value was fixed before training."""


class Trees(NamedTuple):
    """Nodes of all trees one after another, roots (int32) where each begins.

    feature int32 (-1: a leaf), limit float32 (left when at most that), left, right int32 (nodes),
    value float32 (log-odds of a leaf); start is the log-odds before the first tree.
    """

    start: float
    roots: np.ndarray
    feature: np.ndarray
    limit: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray


class Model(NamedTuple):
    """Both models, and the score from which on a line is kept."""

    first: Trees
    second: Trees
    threshold: float


@compiled
def _scores(rows, start, roots, feature, limit, left, right, value):  # type: ignore[no-untyped-def]
    n = len(rows)
    out = np.full(n, start, np.float32)
    for root in roots:
        for i in range(n):
            node = root
            while feature[node] >= 0:
                node = left[node] if rows[i, feature[node]] <= limit[node] else right[node]
            out[i] += value[node]
    for i in range(n):
        out[i] = np.float32(1.0) / (np.float32(1.0) + np.exp(-out[i]))
    return out


def scores(rows: np.ndarray, trees: Trees) -> np.ndarray:
    """Probability float32 (n) of each row of features."""
    return _scores(rows, np.float32(trees.start), *trees[1:])


def trees(written: dict[str, Any]) -> Trees:
    """Trees from their JSON form."""
    return Trees(
        written["start"],
        np.array(written["roots"], np.int32),
        np.array(written["feature"], np.int32),
        np.array(written["limit"], np.float32),
        np.array(written["left"], np.int32),
        np.array(written["right"], np.int32),
        np.array(written["value"], np.float32),
    )


def fingerprint() -> str:
    """Names the shipped model in what depends on it."""
    return hashlib.sha256((files("skywright.corpus.extract") / ASSET).read_bytes()).hexdigest()[:16]


@cache
def shipped() -> Model:
    """The model of this version."""
    text = (files("skywright.corpus.extract") / ASSET).read_text()
    written = json.loads(text)
    if written["features"] != list(FEATURES) or written["context"] != [*CONTEXT, *OWN]:
        raise ValueError(f"{ASSET} was trained on other features; train it anew")
    return Model(trees(written["first"]), trees(written["second"]), written["threshold"])


def chosen(line_scores: np.ndarray, threshold: float) -> np.ndarray:
    """Which of a page's lines (one or more) are kept by their scores."""
    return line_scores >= min(threshold, RELAXED * float(line_scores.max()))


def kept(found: Rows, model: Model) -> np.ndarray:
    """Whether each line of a page is main content, bool (n)."""
    if not len(found.rows):
        return np.zeros(0, bool)
    first = scores(found.rows, model.first)
    second = scores(context(found, first), model.second)
    return chosen(second, model.threshold)
