"""Rows of which several fields make one document: parallel text and exercises.

A reader takes the fields as they are (`taken`), and the extraction makes the document of them
(`document`), so that a document's id is of what stood in the row and not of how it is rendered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from skywright.corpus.special import parallel, stem
from skywright.corpus.special.config import ExerciseFields, ParallelConfig, ParallelFields

PARALLEL, EXERCISE = "parallel", "exercise"
FORMS = (PARALLEL, EXERCISE)
"""Forms of a record whose payload is JSON made by `taken`."""


class Taken(NamedTuple):
    """The parts of a row as JSON, or (`text` None) the field that is missing."""

    form: str
    text: str | None
    missing: str = ""


class Made(NamedTuple):
    """A document: its text, what `meta` says of it, and the text that tells its language; or
    (`text` None) why it is none.
    """

    text: str | None
    meta: Mapping[str, Any] = {}
    told_by: str = ""
    rule: str = ""
    value: float = 0.0
    threshold: float = 0.0


def needed(fields: ParallelFields | ExerciseFields) -> tuple[str, ...]:
    """The columns that a table must have."""
    if isinstance(fields, ParallelFields):
        return fields.zh, fields.en
    rest = (name for name in (fields.solution, fields.answer) if name is not None)
    return fields.question, *fields.options, *rest


def taken(row: dict[str, Any], fields: ParallelFields | ExerciseFields) -> Taken:
    """Take the parts of a document out of a row."""
    parts: dict[str, Any]
    if isinstance(fields, ParallelFields):
        form, must = PARALLEL, {"zh": fields.zh, "en": fields.en}
        parts = {part: row.pop(name, None) for part, name in must.items()}
    else:
        form, must = EXERCISE, {"question": fields.question}
        parts = {"question": row.pop(fields.question, None)}
        parts["options"] = [o for name in fields.options for o in _texts(row.pop(name, None))]
        for part, name in (("solution", fields.solution), ("answer", fields.answer)):
            parts[part] = "\n".join(_texts(row.pop(name, None))) if name is not None else ""
    for part, name in must.items():
        if not isinstance(parts[part], str):
            return Taken(form, None, name)
    return Taken(form, json.dumps(parts, ensure_ascii=False, sort_keys=True))


def _texts(value: Any) -> list[str]:
    """A field's value as texts: itself, the items of a list, nothing of null."""
    if value is None:
        return []
    return [text for item in value for text in _texts(item)] if _is_list(value) else [str(value)]


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def document(form: str, payload: bytes, config: ParallelConfig) -> Made:
    """The document that the parts of a row make."""
    parts = json.loads(payload)
    return _parallel(parts, config) if form == PARALLEL else _exercise(parts)


def _parallel(parts: Mapping[str, str], config: ParallelConfig) -> Made:
    zh, en = parallel.paragraphs(parts["zh"]), parallel.paragraphs(parts["en"])
    most = max(len(zh), len(en))
    if most > config.max_paragraphs:
        return Made(None, rule="paragraphs", value=most, threshold=config.max_paragraphs)
    pairs = parallel.align(zh, en, config)
    share = len(pairs) / most if most else 0.0
    chinese = [zh[i] for i, _ in pairs if parallel.is_chinese(zh[i])]
    if not chinese or share < config.min_aligned:
        return Made(None, rule="misaligned", value=share, threshold=config.min_aligned)
    text = parallel.render((zh[i], en[j]) for i, j in pairs)
    told = {"pairs": len(pairs), "zh_paragraphs": len(zh), "en_paragraphs": len(en)}
    return Made(text, {"parallel": told}, "\n".join(chinese))


def _exercise(parts: Mapping[str, Any]) -> Made:
    exercise = stem.Exercise(
        parts["question"], tuple(parts["options"]), parts["solution"], parts["answer"]
    )
    if not exercise.question.strip():
        return Made(None, rule="no_text", value=0.0, threshold=1.0)
    if len(exercise.options) > len(stem.LETTERS):
        return Made(None, rule="options", value=len(exercise.options), threshold=len(stem.LETTERS))
    text = stem.render(exercise, stem.language(exercise.question))
    return Made(text, {"exercises": 1}, text)
