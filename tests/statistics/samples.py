"""Documents with the losses of several models: real ones, and simulated ones with long tails."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

REAL = Path(__file__).parent / "losses.csv"
"""What five models of the laptop recipe lose on its evaluation sets: four checkpoints and the
study's branch, 328 documents of 11 domains, cut at 500 characters; nats to four digits."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Losses by model, sizes and domains of the same documents, each of shape (n,)."""

    models: dict[str, np.ndarray]
    sizes: np.ndarray
    domains: np.ndarray

    def of(self, *domains: str) -> Sample:
        """The documents of some domains."""
        kept = np.isin(self.domains, domains)
        models = {name: losses[kept] for name, losses in self.models.items()}
        return Sample(models, self.sizes[kept], self.domains[kept])


def as_one(sample: Sample) -> Sample:
    """All documents in one domain."""
    return replace(sample, domains=np.full(len(sample.domains), "all"))


def real(size: str = "bytes") -> Sample:
    """The real losses; size: "bytes" or "reference_tokens"."""
    with REAL.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    models = [name for name in rows[0] if name not in ("domain", "bytes", "reference_tokens")]
    return Sample(
        {name: np.array([float(row[name]) for row in rows]) for name in models},
        np.array([float(row[size]) for row in rows]),
        np.array([row["domain"] for row in rows]),
    )


def simulated(
    seed: int = 0, documents: int = 400, domains: int = 4, models: int = 5, sigma: float = 0.8
) -> Sample:
    """Documents whose lengths are lognormal (sigma of the logarithm), with models that agree.

    A document's difficulty is lognormal and common to all models; each model adds a level of its
    own, one per cent above the one before, and a little of its own for each document, so that
    losses of two models correlate at about .98.
    """
    rng = np.random.default_rng(seed)
    domain = np.arange(documents) % domains
    sizes = np.ceil(rng.lognormal(7.0, sigma, documents))
    difficulty = rng.lognormal(-0.5 + 0.1 * domain, 0.25)
    own = rng.lognormal(0.0, 0.05, (models, documents))
    return Sample(
        {f"m{i}": sizes * difficulty * own[i] * (1 + 0.01 * i) for i in range(models)},
        sizes,
        np.array([f"domain-{d}" for d in domain]),
    )
