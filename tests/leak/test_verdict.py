from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from skywright.leak.deltas import paired_difference, unpaired_difference
from skywright.leak.verdict import judge
from skywright.statistics import Estimate


def around(value: float, half: float) -> Estimate:
    return Estimate(value, value - half, value + half, half / 2, 500)


CLEAN = around(0.0, 0.01)


@pytest.mark.parametrize(
    ("delta1", "delta2", "seen", "word"),
    [
        (around(-0.5, 0.05), CLEAN, CLEAN, "leak"),
        (around(-0.04, 0.01), CLEAN, CLEAN, "cannot tell"),  # reaches into the null band
        (CLEAN, around(0.4, 0.05), around(-0.2, 0.1), "trained on train split"),
        (CLEAN, around(0.07, 0.01), CLEAN, "no evidence"),  # clean models reach .08
        (CLEAN, around(0.4, 0.05), CLEAN, "no evidence"),  # the random halves are the judge
        (CLEAN, CLEAN, around(-0.02, 0.03), "cannot tell"),
        (CLEAN, CLEAN, around(0.05, 0.08), "no evidence"),
        (CLEAN, around(0.4, 0.05), None, "trained on train split"),
        (CLEAN, around(0.07, 0.03), None, "cannot tell"),
        (CLEAN, CLEAN, None, "no evidence"),
        (CLEAN, None, None, "cannot tell"),
        (Estimate(-0.9, -math.inf, math.inf, math.nan, 1), CLEAN, CLEAN, "cannot tell"),
    ],
)
def test_the_word_follows_the_intervals(
    delta1: Estimate, delta2: Estimate | None, seen: Estimate | None, word: str
) -> None:
    verdict = judge(delta1, delta2, seen)
    assert verdict.word == word
    assert "nats" in verdict.reason


def table(nll: np.ndarray, tokens: np.ndarray, prefix: str) -> pa.Table:
    return pa.table(
        {"doc_id": [f"{prefix}{i}" for i in range(len(nll))], "nll_nats": nll,
         "reference_tokens": tokens}
    )  # fmt: skip


def test_pairs_are_found_by_id_and_what_makes_an_item_hard_cancels() -> None:
    rng = np.random.default_rng(0)
    n = 300
    tokens = rng.integers(80, 250, n)
    hard = rng.normal(1.5, 0.4, n)
    test = table(tokens * hard, tokens, "t")
    kept = rng.permutation(n)[:200]
    reference = table(
        tokens[kept] * (hard[kept] + 0.1 + rng.normal(0, 0.02, 200)), tokens[kept], "r"
    )
    original_of = {f"r{i}": f"t{k}" for i, k in enumerate(kept)}
    paired = paired_difference(test, reference, original_of)
    unpaired = unpaired_difference(test, reference)
    assert paired.low < -0.1 < paired.high
    assert paired.n == 200
    assert paired.high - paired.low < (unpaired.high - unpaired.low) / 5


def test_the_paired_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        tokens = rng.integers(80, 250, (2, 120))
        hard = rng.lognormal(0.3, 0.3, 120)
        nll = tokens * (hard + rng.normal(0, 0.1, (2, 120)))
        estimate = paired_difference(
            table(nll[0], tokens[0], "t"),
            table(nll[1], tokens[1], "r"),
            {f"r{i}": f"t{i}" for i in range(120)},
        )
        covered += estimate.low <= 0 <= estimate.high
    # 400 draws of .95: 3 standard deviations are .033.
    assert 0.917 <= covered / 400 <= 0.983
