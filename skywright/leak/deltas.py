"""Differences of loss between sets that one model may have seen and sets it cannot have seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from skywright.evaluate.summary import column
from skywright.statistics import Estimate, ratio_difference, ratio_interval


def unpaired_difference(a: pa.Table, b: pa.Table) -> Estimate:
    """Loss of a minus loss of b in nats per reference token, the sets being independent."""
    return ratio_difference(*_sums(a), *_sums(b))


def paired_difference(
    test: pa.Table, reference: pa.Table, original_of: Mapping[str, str]
) -> Estimate:
    """Loss of the originals minus loss of their look-alikes, in nats per reference token.

    Only originals that have a look-alike count. Both losses are ratios of sums with their own
    tokens; the pair is the unit. With t = sum N / sum R on either side, the influence of pair i
    is e_i = (N_i - t R_i) / sum R (test) - (N'_i - t' R'_i) / sum R' (reference), and the
    standard error is sqrt(n / (n-1) sum e_i^2) (Cochran 1977, section 6.4, for two ratios).
    """
    row_of = {identity: i for i, identity in enumerate(test.column("doc_id").to_pylist())}
    rows = [row_of[original_of[identity]] for identity in reference.column("doc_id").to_pylist()]
    top_a, bottom_a = (values[rows] for values in _sums(test))
    top_b, bottom_b = _sums(reference)
    ratio_a, ratio_b = top_a.sum() / bottom_a.sum(), top_b.sum() / bottom_b.sum()
    influence = (top_a - ratio_a * bottom_a) / bottom_a.sum()
    influence -= (top_b - ratio_b * bottom_b) / bottom_b.sum()
    n = len(influence)
    return ratio_interval(influence * n + (ratio_a - ratio_b), np.ones(n))


def _sums(table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    return column(table, "nll_nats"), column(table, "reference_tokens")
