"""The texts that a model is examined on when no set is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

from skywright.evaluate.backends import Backend
from skywright.evaluate.doctor.sample import ids_of
from skywright.sets import EvaluationSet

MAX_CHARS = 2_000
"""An examination looks at no more of a document: its effects show in the first few hundred."""


def shipped_texts() -> list[str]:
    """22 short texts in Chinese, English and code, written for this; in turn, not by language."""
    by_kind: dict[str, list[str]] = json.loads(
        resources.files(__package__).joinpath("texts.json").read_text(encoding="utf-8")
    )
    return _in_turn(list(by_kind.values()))


def texts_of(sets: Sequence[EvaluationSet], documents: int) -> list[str]:
    """The first `documents` texts, taken from the sets in turn and cut at `MAX_CHARS`."""
    texts = _in_turn([[document.text for document in item.documents] for item in sets])
    return [text[:MAX_CHARS] for text in texts[:documents]]


def tokens_of(backend: Backend, sets: Sequence[EvaluationSet], looked_at: int = 50) -> int:
    """About how many of the model's tokens the sets have, from each one's first documents."""
    total = 0.0
    for item in sets:
        texts = [document.text for document in item.documents]
        part = texts[:looked_at]
        chars = max(1, sum(map(len, part)))
        total += sum(map(len, texts)) * sum(len(ids_of(backend, text)) for text in part) / chars
    return round(total)


def _in_turn(columns: Sequence[Sequence[str]]) -> list[str]:
    longest = max((len(column) for column in columns), default=0)
    return [column[row] for row in range(longest) for column in columns if row < len(column)]
