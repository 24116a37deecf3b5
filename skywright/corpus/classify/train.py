"""Training: one logistic regression a label, calibrated on hosts that the model has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.corpus import kernels
from skywright.corpus.classify.examples import Examples, capped, folds
from skywright.corpus.classify.kernels import FEATURE_SCALE, MAX_TOKENS, learn
from skywright.corpus.classify.model import Classifier
from skywright.errors import UserError


class TrainingConfig(Config):
    """How a classifier is trained; the defaults are those of the shipped models.

    2^18 buckets of int8 make 256 KiB a label. `pages_a_host` was chosen on out-of-host scores
    of the Chinese examples (20, 50, 100, 1000 tried; see docs/classifiers.md); `decay` of 1e-5 and
    1e-4 give areas under the curve that differ by up to .012 there.
    """

    bucket_bits: int = Field(default=18, ge=8, le=24)
    epochs: int = Field(default=10, ge=1)
    decay: float = Field(default=1e-5, gt=0)
    pages_a_host: int = Field(default=50, ge=1)
    folds: int = Field(default=5, ge=2)
    seed: int = 1


@dataclass(frozen=True)
class Trained:
    """The model on all examples; `examples` are the capped ones, `held_out` float64 (n, labels)
    their probabilities by models that saw no page of their host (nan where unknown).
    """

    model: Classifier
    examples: Examples
    held_out: np.ndarray


def train(examples: Examples, config: TrainingConfig) -> Trained:
    """Train a classifier of all labels. One thread, fixed seed: the same bytes again.

    Every label is scored out of host first (`folds` models), its calibration (Platt 1999, with
    equal weight to both classes) is fitted on those scores, and the model is then made from all.
    Raises UserError for a label that lacks examples of a kind or hosts for two folds.
    """
    examples = capped(examples, config.pages_a_host, config.seed)
    hashes, offsets = _tokens(examples)
    fold = folds(examples.hosts, config.folds, config.seed)
    n, labels = examples.targets.shape
    weights = np.zeros((1 << config.bucket_bits, labels))
    bias = np.zeros(labels)
    calibration = np.zeros((labels, 2))
    held_out = np.full((n, labels), np.nan)
    for number, label in enumerate(examples.labels):
        target = examples.targets[:, number]
        known = ~np.isnan(target)
        _check(label, target[known], fold[known])
        logits = np.full(n, np.nan)
        for part in range(config.folds):
            inside = np.flatnonzero(known & (fold == part))
            others = np.flatnonzero(known & (fold != part))
            if len(inside) and len(np.unique(target[others])) == 2:
                w, b = _fit(hashes, offsets, others, target, config)
                logits[inside] = _logits(hashes, offsets, inside, w, b)
        scored = ~np.isnan(logits)
        calibration[number] = _calibrate(logits[scored], target[scored])
        a, c = calibration[number]
        held_out[:, number] = 1 / (1 + np.exp(-(a * logits + c)))
        weights[:, number], bias[number] = _fit(
            hashes, offsets, np.flatnonzero(known), target, config
        )
    model = Classifier.quantised(examples.labels, weights, bias, calibration)
    return Trained(model, examples, held_out)


def _tokens(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    parts = [kernels.tokens(view) for view in kernels.views(pa.array(examples.texts, pa.string()))]
    sizes = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return np.concatenate([part.hashes for part in parts]), offsets


def _check(label: str, target: np.ndarray, fold: np.ndarray) -> None:
    for kind, name in ((1.0, "1"), (0.0, "0")):
        if not len(target):
            raise UserError(f"label {label!r}: no line has this field; check the label's name")
        parts = len(np.unique(fold[target == kind]))
        if parts < 2:
            raise UserError(
                f"label {label!r}: its examples of {name} come from {parts} group(s) of hosts; "
                "two are needed to measure on unseen hosts: add examples of another host"
            )


def _fit(
    hashes: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    target: np.ndarray,
    config: TrainingConfig,
) -> tuple[np.ndarray, float]:
    """Weights and bias from these rows; both classes weigh the same in all."""
    share = target[rows].mean()
    importance = np.where(target == 1, 0.5 / share, 0.5 / (1 - share))
    weights = np.zeros(1 << config.bucket_bits)
    bias = np.zeros(1)
    draw = np.random.default_rng(config.seed)
    order = np.concatenate([draw.permutation(rows) for _ in range(config.epochs)])
    learn(
        hashes, offsets, order, np.nan_to_num(target), importance, weights, bias, config.decay,
        MAX_TOKENS, FEATURE_SCALE,
    )  # fmt: skip
    return weights, float(bias[0])


def _logits(
    hashes: np.ndarray, offsets: np.ndarray, rows: np.ndarray, weights: np.ndarray, bias: float
) -> np.ndarray:
    """Scores of rows by the weights as they will be shipped."""
    model = Classifier.quantised(("",), weights[:, None], np.array([bias]), np.array([[1.0, 0]]))
    return np.concatenate(
        [
            model.logits_of(hashes[offsets[row] : offsets[row + 1]])  # one document
            for row in rows
        ]
    )


def _calibrate(logits: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Platt's a and b by Newton's method, with both classes weighing the same.

    Targets are smoothed as in Platt's paper, so that perfectly parted classes give finite values.
    """
    ones = target.sum()
    zeros = len(target) - ones
    wanted = np.where(target == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    importance = np.where(target == 1, 0.5 / ones, 0.5 / zeros)
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    theta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ theta))
        gradient = design.T @ (importance * (p - wanted))
        curvature = (design * (importance * p * (1 - p))[:, None]).T @ design
        step = np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient)
        theta -= step * min(1.0, 5.0 / max(1e-12, float(np.abs(step).max())))
    return float(theta[0]), float(theta[1])
