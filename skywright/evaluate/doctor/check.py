"""What an examination says: checks, a floor of noise, and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from skywright.errors import UserError

Verdict = Literal["pass", "warn", "refuse", "skip"]
_WORST: tuple[Verdict, ...] = ("refuse", "warn", "pass")


@dataclass(frozen=True)
class Check:
    """One question to a model.

    finding: what was seen, in a line; advice: what to do about it, empty where nothing is to be
    done; figures: the numbers behind the finding.
    """

    name: str
    verdict: Verdict
    finding: str
    advice: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "name": self.name, "verdict": self.verdict, "finding": self.finding,
            "advice": self.advice, "figures": dict(self.figures),
        }  # fmt: skip


@dataclass(frozen=True)
class NoiseFloor:
    """How far a document's loss moves for reasons that are not the model's.

    In nats per token, absolute, one value a document, between two ways of computing the same:
    `batch` is alone against among others; `dtype` is this dtype against another, None where that
    was not run. A difference between two models below `maximum` is not to be called one.
    """

    batch: np.ndarray
    dtype: np.ndarray | None = None

    @property
    def _all(self) -> np.ndarray:
        return self.batch if self.dtype is None else np.concatenate([self.batch, self.dtype])

    @property
    def maximum(self) -> float:
        """Largest difference of any document, in nats per token."""
        return float(self._all.max())

    @property
    def p95(self) -> float:
        """95th percentile over documents, in nats per token."""
        return float(np.quantile(self._all, 0.95))

    def as_json(self) -> dict[str, Any]:
        """`max` and `p95` in nats per token, over both and each alone."""
        return {
            "unit": "nats per token",
            "documents": len(self.batch),
            "max": self.maximum,
            "p95": self.p95,
            "batch": _spread(self.batch),
            "dtype": None if self.dtype is None else _spread(self.dtype),
        }


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"max": float(values.max()), "p95": float(np.quantile(values, 0.95))}


@dataclass(frozen=True)
class Report:
    """All checks of a model, in the order in which they were made."""

    model: str
    backend: str
    dtype: str
    checks: tuple[Check, ...]
    noise_floor: NoiseFloor | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst of the checks'."""
        found = {check.verdict for check in self.checks}
        return next((verdict for verdict in _WORST if verdict in found), "pass")

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The checks by which a score of this model would be wrong."""
        return tuple(check for check in self.checks if check.verdict == "refuse")

    def as_json(self) -> dict[str, Any]:
        """The whole report as JSON-able values."""
        return {
            "model": self.model,
            "backend": self.backend,
            "dtype": self.dtype,
            "verdict": self.verdict,
            "checks": [check.as_json() for check in self.checks],
            "noise_floor": None if self.noise_floor is None else self.noise_floor.as_json(),
        }


def guarded(name: str, checks: Callable[[], Check | Sequence[Check]]) -> list[Check]:
    """The checks that a function makes; what the back-end refuses becomes a refusal of its own."""
    try:
        made = checks()
    except UserError as error:
        return [Check(name, "refuse", str(error))]
    return [made] if isinstance(made, Check) else list(made)
