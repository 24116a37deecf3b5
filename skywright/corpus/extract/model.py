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
    """Nodes of all trees one after another, roots (int32) where each begins, depths (int32) how
    many steps lead to its lowest leaf.

    feature int32, limit float32 (left when at most that), left int32 (node; the right one is the
    next), value float32 (log-odds of a leaf). A leaf is its own left node and has no limit, so
    that all rows can take the same number of steps, without a branch to guess: measured 2.4 times
    as fast as walking each row to its leaf. start is the log-odds before the first tree.
    """

    start: float
    roots: np.ndarray
    depths: np.ndarray
    feature: np.ndarray
    limit: np.ndarray
    left: np.ndarray
    value: np.ndarray


class Model(NamedTuple):
    """Both models, and the score from which on a line is kept."""

    first: Trees
    second: Trees
    threshold: float


@compiled
def _scores(rows, start, roots, depths, feature, limit, left, value):  # type: ignore[no-untyped-def]
    n = len(rows)
    out = np.full(n, start, np.float32)
    at = np.empty(n, np.uint32)
    for tree in range(len(roots)):
        at[:] = roots[tree]
        for _ in range(depths[tree]):
            for i in range(n):
                node = at[i]
                at[i] = left[node] + (rows[i, np.uint32(feature[node])] > limit[node])
        for i in range(n):
            out[i] += value[at[i]]
    for i in range(n):
        out[i] = np.float32(1.0) / (np.float32(1.0) + np.exp(-out[i]))
    return out


def scores(rows: np.ndarray, trees: Trees) -> np.ndarray:
    """Probability float32 (n) of each row of features."""
    return _scores(rows, np.float32(trees.start), *trees[1:])


def trees(written: dict[str, Any]) -> Trees:
    """Trees from their JSON form, in which a leaf has the feature -1, and `left` and `right` name
    nodes anywhere.
    """
    nodes: list[tuple[int, float, int, float]] = []  # feature, limit, left, value
    roots, depths = [], []
    for root in written["roots"]:
        roots.append(len(nodes))
        nodes.append((0, 0.0, 0, 0.0))
        level = [(root, roots[-1])]  # node, and its place among ours
        depths.append(-1)
        while level:
            depths[-1] += 1
            below = []
            for node, at in level:
                feature = written["feature"][node]
                if feature < 0:
                    nodes[at] = (0, np.inf, at, written["value"][node])
                    continue
                nodes[at] = (feature, written["limit"][node], len(nodes), 0.0)
                below += [(written["left"][node], len(nodes)),
                          (written["right"][node], len(nodes) + 1)]  # fmt: skip
                nodes += [nodes[at], nodes[at]]
            level = below
    kinds = (np.int32, np.float32, np.int32, np.float32)
    columns = (np.array(c, kind) for c, kind in zip(zip(*nodes, strict=True), kinds, strict=True))
    return Trees(written["start"], np.array(roots, np.int32), np.array(depths, np.int32), *columns)


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
