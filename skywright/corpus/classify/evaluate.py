"""How good a classifier is on hosts it has not seen, and where to put the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skywright.statistics import Estimate, proportion_interval

DRAWS = 1000  # of the bootstrap over hosts


def auc(scores: np.ndarray, target: np.ndarray) -> float:
    """Area under the ROC curve: chance that a 1 scores above a 0, ties counted half.

    The rank-sum formula (Mann and Whitney 1947; Hanley and McNeil 1982). nan if a class is empty.
    """
    ones = int(target.sum())
    zeros = len(target) - ones
    if not ones or not zeros:
        return float("nan")
    from scipy.stats import rankdata  # half a second, which no worker of a build should spend

    ranks = rankdata(scores)
    return float((ranks[target == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def auc_interval(
    scores: np.ndarray, target: np.ndarray, hosts: Sequence[str], level: float = 0.95, seed: int = 0
) -> Estimate:
    """AUC with the percentile interval of a bootstrap that draws whole hosts.

    Hosts of ones and hosts of zeros are drawn apart, so that no draw lacks a class. With few hosts
    the interval is too narrow; `n` says how many there are.
    """
    value = auc(scores, target)
    names = np.unique(np.asarray(hosts), return_inverse=True)[1]
    draw = np.random.default_rng(seed)
    rows = {
        kind: [
            np.flatnonzero((names == host) & (target == kind))
            for host in np.unique(names[target == kind])
        ]
        for kind in (0, 1)
    }
    values = []
    for _ in range(DRAWS):
        chosen = np.concatenate(
            [
                np.concatenate([group[i] for i in draw.integers(0, len(group), len(group))])
                for group in rows.values()
            ]
        )
        values.append(auc(scores[chosen], target[chosen]))
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), float(np.std(values)), len(set(hosts)))


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold does: at or above it a page counts as a 1. Wilson's 95 % intervals."""

    threshold: float
    precision: Estimate | None
    recall: Estimate
    kept_share: float


def operating_point(scores: np.ndarray, target: np.ndarray, threshold: float) -> OperatingPoint:
    """Precision (None when nothing reaches the threshold), recall and share at a threshold."""
    named = scores >= threshold
    right = int((named & (target == 1)).sum())
    precision = proportion_interval(right, int(named.sum())) if named.any() else None
    recall = proportion_interval(right, int(target.sum()))
    return OperatingPoint(float(threshold), precision, recall, float(named.mean()))


def threshold_for_keep_rate(scores: np.ndarray, share: float) -> float:
    """The lowest score among the best `share` of all pages."""
    if not 0 < share <= 1:
        raise ValueError(f"the share to keep must lie in (0, 1], got {share}")
    ordered = np.sort(scores)[::-1]
    return float(ordered[max(1, round(share * len(ordered))) - 1])


def threshold_for_precision(
    scores: np.ndarray, target: np.ndarray, precision: float
) -> float | None:
    """The lowest threshold at which the measured precision is at least this; None if there is none.

    The point estimate decides; whoever drops pages by it should look at its interval too.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, right = scores[order], np.cumsum(target[order])
    last = np.append(ordered[1:] != ordered[:-1], True)  # ties are named together
    good = last & (right / np.arange(1, len(ordered) + 1) >= precision)
    return float(ordered[np.flatnonzero(good)[-1]]) if good.any() else None
