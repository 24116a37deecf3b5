"""Loss by place in the document, and how many documents carry a flag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from skywright.evaluate.compare.scores import Scores
from skywright.evaluate.summary import by_position, flagged

ALL = "all"
"""In place of a domain's name: the documents of all domains together."""


@dataclass(frozen=True)
class Position:
    """Bits per byte of every model in one range of places, counted in bytes of the text.

    documents: those that reach into the range; to_bytes: None has no end. bpb: by model, a value
    with its 95 % t interval over these documents, within their domains. From one range to the
    next the documents are fewer and others, so a line compares models at a place, not places with
    each other.
    """

    domain: str
    from_bytes: int
    to_bytes: int | None
    documents: int
    bpb: Mapping[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "domain": self.domain,
            "from_bytes": self.from_bytes,
            "to_bytes": self.to_bytes,
            "documents": self.documents,
            "bpb": dict(self.bpb),
        }


@dataclass(frozen=True)
class Flagged:
    """How many of a domain's documents carry a flag (`prepare.FLAGS`) in one model's scores."""

    model: str
    domain: str
    flag: str
    flagged: int
    documents: int

    @property
    def share(self) -> float:
        """Flagged documents over documents."""
        return self.flagged / self.documents

    def as_json(self) -> dict[str, Any]:
        """The fields and the share."""
        return {
            "model": self.model,
            "domain": self.domain,
            "flag": self.flag,
            "flagged": self.flagged,
            "documents": self.documents,
            "share": self.share,
        }


def _parts(scores: Scores) -> dict[str, np.ndarray]:
    """Rows of all documents together, then of each domain."""
    parts = {ALL: np.arange(len(scores.domain_of))}
    return parts | {d: np.flatnonzero(scores.domain_of == d) for d in scores.domains}


def positions(scores: Scores) -> tuple[Position, ...]:
    """Loss by place, for all documents together and then domain by domain."""
    made = []
    for domain, rows in _parts(scores).items():
        found = {
            model: by_position(table.take(rows), scores.domain_of[rows])
            for model, table in scores.tables.items()
        }
        # What reaches where is the texts' doing: every model has the same ranges.
        for ranges in zip(*found.values(), strict=True):
            made.append(
                Position(
                    domain,
                    ranges[0]["from_bytes"],
                    ranges[0]["to_bytes"],
                    ranges[0]["documents"],
                    {m: one["bpb"] for m, one in zip(found, ranges, strict=True)},
                )
            )
    return tuple(made)


def flags(scores: Scores) -> tuple[Flagged, ...]:
    """One entry a model, domain (or all together) and flag that any document carries."""
    return tuple(
        Flagged(model, domain, flag, count, len(rows))
        for model, table in scores.tables.items()
        for domain, rows in _parts(scores).items()
        for flag, count in flagged(table.take(rows)).items()
    )
