"""A classifier: int8 weights of hashed n-grams for several labels, in one safetensors file.

The file is named by its SHA-256 in recipes, stages and the lineage; loading checks it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skywright.corpus import kernels
from skywright.corpus.classify.kernels import FEATURE_SCALE, MAX_TOKENS, VERSION, mean_weights
from skywright.engine.files import atomic_open
from skywright.errors import UserError

ASSETS = Path(__file__).parent / "assets"
FORMAT = "skywright-classifier/1"

Hashed = tuple[np.ndarray, np.ndarray]
"""Token hashes of some texts and where each begins, as `kernels.token_hashes` gives them."""


@dataclass(frozen=True)
class Classifier:
    """weights int8 (buckets, labels); scale, bias float32 (labels): logit = bias + scale * mean
    weight; calibration float32 (labels, 2): probability = sigmoid(a * logit + b).
    """

    labels: tuple[str, ...]
    weights: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    calibration: np.ndarray

    def logits(self, texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Uncalibrated scores of a text column, float64 (texts, labels)."""
        return self._logits(kernels.token_hashes(texts))

    def _logits(self, hashed: Iterable[Hashed]) -> np.ndarray:
        parts = [np.zeros((0, len(self.labels)))]
        for hashes, offsets in hashed:
            parts.append(mean_weights(hashes, offsets, self.weights, MAX_TOKENS))
        return np.concatenate(parts) * self.scale.astype(float) + self.bias.astype(float)

    def logits_of(self, hashes: np.ndarray) -> np.ndarray:
        """Scores of one document given as token hashes, float64 (labels)."""
        offsets = np.array([0, len(hashes)], np.int64)
        means = mean_weights(hashes, offsets, self.weights, MAX_TOKENS)[0]
        return means * self.scale.astype(float) + self.bias.astype(float)

    def scores(self, texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Probability of each label, float64 (texts, labels), by the calibration of training."""
        return self.scores_of(kernels.token_hashes(texts))

    def scores_of(self, hashed: Iterable[Hashed]) -> np.ndarray:
        """The same of texts whose tokens are hashed already (`kernels.token_hashes`)."""
        return probability(self._logits(hashed), self.calibration)

    @classmethod
    def quantised(
        cls,
        labels: Sequence[str],
        weights: np.ndarray,
        bias: np.ndarray,
        calibration: np.ndarray,
    ) -> Classifier:
        """From learned weights, float64 (buckets, labels): 255 steps a label.

        The largest thousandth of a label's weights is clipped, so that a few of them do not take
        the steps from all others. What is measured in training is measured on these steps.
        """
        size = np.abs(weights)
        top = np.array(
            [np.quantile(column[column > 0], 0.999) if column.any() else 1.0 for column in size.T]
        )
        steps = np.clip(np.rint(weights / top * 127), -127, 127).astype(np.int8)
        scale = (top / 127 * FEATURE_SCALE).astype(np.float32)
        return cls(
            tuple(labels), steps, scale, bias.astype(np.float32), calibration.astype(np.float32)
        )

    def save(self, path: Path) -> str:
        """Write the model; returns its SHA-256. The same model gives the same bytes."""
        data = save(
            {
                "weights": self.weights,
                "scale": self.scale,
                "bias": self.bias,
                "calibration": self.calibration,
            },
            # One entry: safetensors writes several in an order of chance.
            {"skywright": json.dumps([FORMAT, VERSION, *self.labels])},
        )
        with atomic_open(path) as stream:
            stream.write(data)
        return hashlib.sha256(data).hexdigest()


def probability(logits: np.ndarray, calibration: np.ndarray) -> np.ndarray:
    """sigmoid(a * logit + b) a column."""
    return 1 / (1 + np.exp(-(logits * calibration[:, 0] + calibration[:, 1])))


def shipped(name: str) -> Path:
    """Where a model of the package stands. Raises UserError for a name that there is not."""
    path = ASSETS / f"{name}.safetensors"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in ASSETS.glob("*.safetensors")))
        raise UserError(f"classifier {name!r}: no such model; shipped are {known}")
    return path


def find(name: str) -> Path:
    """The file of a model: a path that exists, or the name of a shipped one."""
    return Path(name) if Path(name).is_file() else shipped(name)


def load_model(path: Path) -> Classifier:
    """Read a model. Raises UserError for a file that is missing, no classifier, or too old."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such model; check the path")
    try:
        return parse(Path(path).read_bytes())
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


@lru_cache(maxsize=8)
def parse(data: bytes) -> Classifier:
    """A model from the bytes of its file. Raises UserError for bytes that are none."""
    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        form, features, *labels = json.loads(header["__metadata__"]["skywright"])
    except (SafetensorError, KeyError, ValueError):
        raise UserError("is no classifier of skywright's; train one") from None
    if (form, features) != (FORMAT, VERSION):
        raise UserError(
            f"made for {form}, {features}; this version reads {FORMAT}, {VERSION}: train it again"
        )
    return Classifier(
        tuple(labels), arrays["weights"], arrays["scale"], arrays["bias"], arrays["calibration"]
    )
