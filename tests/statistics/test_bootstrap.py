"""The document bootstrap: reproducible, close to the closed form, and covering."""

from __future__ import annotations

import math

import numpy as np
import pytest

from skywright.statistics import bootstrap, ratio_bootstrap, ratio_interval
from tests.statistics.test_intervals import documents


def test_the_seed_decides_the_interval() -> None:
    nats, size = documents(1, 50)
    first = ratio_bootstrap(nats, size, seed=4)
    assert ratio_bootstrap(nats, size, seed=4) == first
    assert ratio_bootstrap(nats, size, seed=5).low != first.low


def test_it_agrees_with_the_closed_form_on_many_documents() -> None:
    nats, size = documents(2, 1000)
    drawn, closed = ratio_bootstrap(nats, size), ratio_interval(nats, size)
    assert drawn.value == closed.value
    assert drawn.standard_error == pytest.approx(closed.standard_error, rel=0.06)
    assert (drawn.low, drawn.high) == pytest.approx((closed.low, closed.high), rel=2e-3)


def test_weights_are_multinomial() -> None:
    weights = bootstrap.resampling_weights(np.random.default_rng(0), 4000, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.06)
    assert weights.var(axis=0) == pytest.approx(np.full(5, 0.8), rel=0.1)  # n p (1 - p)


def test_holding_fewer_weights_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    nats, size = documents(3, 40)
    whole = ratio_bootstrap(nats, size, draws=300)
    monkeypatch.setattr(bootstrap, "WEIGHTS_AT_ONCE", 40 * 7)
    parts = ratio_bootstrap(nats, size, draws=300)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_it_covers_the_truth_at_its_level() -> None:
    covered = []
    for seed in range(2000):
        found = ratio_bootstrap(*documents(seed, 100), draws=500, seed=seed)
        covered.append(found.low <= 0.7 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_one_document_has_no_interval() -> None:
    found = ratio_bootstrap([2.0], [4.0])
    assert (found.value, found.low, found.high) == (0.5, -math.inf, math.inf)


def test_a_draw_without_weight_is_left_out() -> None:
    found = ratio_bootstrap([1.0, 0.0], [2.0, 0.0], draws=100)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="2 draws"):
        ratio_bootstrap([1.0, 2.0], [1.0, 1.0], draws=1)
