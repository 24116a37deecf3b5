"""What a comparison of models finds: one object, and the way from scores to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skywright.evaluate.compare.board import Row, board
from skywright.evaluate.compare.documents import (
    DocumentLine,
    Gaps,
    Lines,
    costliest,
    documents_by_key,
    gaps,
)
from skywright.evaluate.compare.pairs import Pair, pairs
from skywright.evaluate.compare.places import Flagged, Position, flags, positions
from skywright.evaluate.compare.scores import Scores
from skywright.sets import EvaluationSet
from skywright.statistics.studentised import DRAWS

WORST = 10
"""Documents in each list of the worst."""


@dataclass(frozen=True)
class SetFacts:
    """A set that models were compared on."""

    name: str
    lang: str
    documents: int
    content_hash: str

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "name": self.name,
            "lang": self.lang,
            "documents": self.documents,
            "content_hash": self.content_hash,
        }


@dataclass(frozen=True)
class ModelComparison:
    """Models on the same documents.

    models: in the order given; rows: from lowest to highest loss; pairs and gaps: every pair, in
    the order of models. costliest: by model, the documents with its largest losses. sets: by
    domain. noise_floor: in nats per reference token. protocol: its settings and the dtype.
    """

    models: tuple[str, ...]
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    positions: tuple[Position, ...]
    gaps: tuple[Gaps, ...]
    costliest: Mapping[str, tuple[DocumentLine, ...]]
    flags: tuple[Flagged, ...]
    sets: Mapping[str, SetFacts]
    protocol: Mapping[str, Any]
    reference_tokenizer: str
    noise_floor: float
    level: float

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "models": list(self.models),
            "rows": [row.as_json() for row in self.rows],
            "pairs": [pair.as_json() for pair in self.pairs],
            "positions": [position.as_json() for position in self.positions],
            "gaps": [found.as_json() for found in self.gaps],
            "costliest": {
                model: [line.as_json() for line in lines] for model, lines in self.costliest.items()
            },
            "flags": [found.as_json() for found in self.flags],
            "sets": {domain: facts.as_json() for domain, facts in self.sets.items()},
            "protocol": dict(self.protocol),
            "reference_tokenizer": self.reference_tokenizer,
            "noise_floor": self.noise_floor,
            "level": self.level,
        }


def compare_scores(
    scores: Scores,
    sets: Mapping[str, EvaluationSet],
    *,
    protocol: Mapping[str, Any],
    reference_tokenizer: str,
    noise_floor: float = 0.0,
    worst: int = WORST,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> ModelComparison:
    """Compare models whose scores are there already.

    sets: by domain, those that were scored. noise_floor: the largest difference, in nats per
    reference token, that one model shows against itself when dtype or batches change: no smaller
    one is called. worst: documents in each list. draws, seed: of bootstraps and sign-flip tests.
    """
    rows, joint = board(scores, noise_floor, draws, seed, level)
    lines = Lines(scores, documents_by_key(sets))
    return ModelComparison(
        models=scores.models,
        rows=rows,
        pairs=pairs(scores, joint, noise_floor, draws, seed, level),
        positions=positions(scores),
        gaps=tuple(gaps(lines, pair.a, pair.b, worst) for pair in joint),
        costliest={model: costliest(lines, model, worst) for model in scores.models},
        flags=flags(scores),
        sets={
            domain: SetFacts(item.name, item.lang, len(item.documents), item.content_hash)
            for domain, item in sets.items()
        },
        protocol=protocol,
        reference_tokenizer=reference_tokenizer,
        noise_floor=noise_floor,
        level=level,
    )
