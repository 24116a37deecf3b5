"""A classifier's quality in rows, as the command line shows them."""

from __future__ import annotations

from typing import Any

import numpy as np

from skywright.corpus.classify.evaluate import (
    auc_interval,
    operating_point,
    threshold_for_keep_rate,
    threshold_for_precision,
)
from skywright.corpus.classify.examples import Examples

PRECISION = 0.95
KEPT_SHARE = 0.10  # the share that DCLM keeps (arXiv 2406.11794, section 4.3)


def measure(examples: Examples, scores: np.ndarray) -> list[dict[str, Any]]:
    """One row a label that has both kinds: AUC, and what two thresholds do.

    scores float64 (n, labels), nan where a page has no score. The thresholds: the lowest of 95 %
    precision (missing when no threshold has it), and that which keeps the best tenth.
    """
    rows = []
    for number, label in enumerate(examples.labels):
        target, column = examples.targets[:, number], scores[:, number]
        known = np.flatnonzero(~np.isnan(target) & ~np.isnan(column))
        if len(np.unique(target[known])) < 2:
            continue
        target, column = target[known], column[known]
        area = auc_interval(column, target, [examples.hosts[i] for i in known])
        row: dict[str, Any] = {
            "label": label,
            "ones": int(target.sum()),
            "zeros": int((1 - target).sum()),
            "hosts": area.n,
            "auc": _text(area),
        }
        sure = threshold_for_precision(column, target, PRECISION)
        for name, threshold in (
            ("sure", sure),
            ("best tenth", threshold_for_keep_rate(column, KEPT_SHARE)),
        ):
            if threshold is not None:
                point = operating_point(column, target, threshold)
                row[f"{name}: threshold"] = round(threshold, 4)
                row[f"{name}: precision"] = _text(point.precision)
                row[f"{name}: recall"] = _text(point.recall)
        rows.append(row)
    return rows


def _text(estimate: Any) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"
