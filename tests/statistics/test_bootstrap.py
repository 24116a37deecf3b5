"""The counts that a bootstrap draws."""

from __future__ import annotations

import numpy as np
import pytest

from skywright.statistics import bootstrap


def test_weights_are_multinomial() -> None:
    weights = bootstrap.resampling_weights(np.random.default_rng(0), 4000, 5)
    assert (weights.sum(axis=1) == 5).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(5), abs=0.06)
    assert weights.var(axis=0) == pytest.approx(np.full(5, 0.8), rel=0.1)  # n p (1 - p)
