"""The documents on which models differ most, and those that cost a model most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from skywright.evaluate.compare.scores import Scores
from skywright.sets import EvaluationDocument, EvaluationSet

OPENING_CHARS = 90  # of a document's text, to know it by


@dataclass(frozen=True)
class DocumentLine:
    """One document: what it is, and every model's bits per byte and flags.

    opening: the beginning of its text in one line; bytes: of the part that was scored.
    """

    doc_id: str
    domain: str
    url: str | None
    published: str | None
    opening: str
    bytes: int
    bpb: Mapping[str, float]
    flags: Mapping[str, tuple[str, ...]]

    @property
    def key(self) -> tuple[str, str]:
        """Domain and id: the same text may stand in two domains."""
        return self.domain, self.doc_id

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "doc_id": self.doc_id,
            "domain": self.domain,
            "url": self.url,
            "published": self.published,
            "opening": self.opening,
            "bytes": self.bytes,
            "bpb": dict(self.bpb),
            "flags": {model: list(found) for model, found in self.flags.items() if found},
        }


@dataclass(frozen=True)
class Gaps:
    """Documents with the largest gap in bits per byte, largest first, in either direction."""

    a: str
    b: str
    a_worse: tuple[DocumentLine, ...]
    b_worse: tuple[DocumentLine, ...]

    def as_json(self) -> dict[str, Any]:
        """The fields under their names."""
        return {
            "a": self.a,
            "b": self.b,
            "a_worse": [line.as_json() for line in self.a_worse],
            "b_worse": [line.as_json() for line in self.b_worse],
        }


def documents_by_key(
    sets: Mapping[str, EvaluationSet],
) -> dict[tuple[str, str], EvaluationDocument]:
    """By domain and id."""
    return {(name, d.id): d for name, item in sets.items() for d in item.documents}


@dataclass(frozen=True, eq=False)
class Lines:
    """Makes the lines of documents by their row in the scores."""

    scores: Scores
    documents: Mapping[tuple[str, str], EvaluationDocument]

    def at(self, rows: Iterable[int]) -> tuple[DocumentLine, ...]:
        """The lines of these rows, in their order."""
        return tuple(self._line(int(row)) for row in rows)

    def _line(self, row: int) -> DocumentLine:
        tables = self.scores.tables
        scored = {model: table.slice(row, 1) for model, table in tables.items()}
        any_model = next(iter(scored.values()))
        doc_id, domain = any_model["doc_id"][0].as_py(), str(self.scores.domain_of[row])
        document = self.documents[domain, doc_id]
        words = " ".join(document.text[: 4 * OPENING_CHARS].split())
        return DocumentLine(
            doc_id=doc_id,
            domain=domain,
            url=document.url,
            published=document.published,
            opening=words[:OPENING_CHARS] + ("…" if len(words) > OPENING_CHARS else ""),
            bytes=any_model["bytes"][0].as_py(),
            bpb={model: float(bits[row]) for model, bits in self.scores.bpb.items()},
            flags={model: tuple(part["flags"][0].as_py()) for model, part in scored.items()},
        )


def gaps(lines: Lines, a: str, b: str, count: int) -> Gaps:
    """At most `count` documents in each direction; those without a difference are left out."""
    bpb = lines.scores.bpb
    difference = bpb[a] - bpb[b]

    def largest(gap: np.ndarray) -> tuple[DocumentLine, ...]:
        order = np.argsort(-gap, kind="stable")[:count]
        return lines.at(order[gap[order] > 0])

    return Gaps(a, b, largest(difference), largest(-difference))


def costliest(lines: Lines, model: str, count: int) -> tuple[DocumentLine, ...]:
    """The documents with the most bits per byte under a model, most first."""
    return lines.at(np.argsort(-lines.scores.bpb[model], kind="stable")[:count])


def chosen_lines(found: Sequence[Gaps], limit: int) -> tuple[DocumentLine, ...]:
    """Up to `limit` different documents: every pair's largest gaps first, then the next ones."""
    sides = [side for pair in found for side in (pair.a_worse, pair.b_worse)]
    by_place = chain.from_iterable(zip_longest(*sides))
    different = {line.key: line for line in by_place if line is not None}
    return tuple(different.values())[:limit]
