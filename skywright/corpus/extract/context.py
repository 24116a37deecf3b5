"""What the second model sees of a line: the first model's scores around it, and a few features."""

from __future__ import annotations

import numpy as np

from skywright.corpus.extract.features import FEATURES, Rows
from skywright.engine.compiled import compiled

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
