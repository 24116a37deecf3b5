"""Cuts into a text, recorded so that the text can be put together again.

A step makes its cuts at once, all in the code points of the text that it was given. The edits table
has one row a document, step and rule; its spans say where they begin and end there, what stood
there, and what was put in its place. `restore` undoes a step exactly, and steps in reverse order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from skywright.errors import UserError

SPAN = pa.struct(
    [("start", pa.int64()), ("end", pa.int64()), ("removed", pa.string()), ("put", pa.string())]
)
EDIT_SCHEMA = pa.schema(
    [
        ("id", pa.binary(16)),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("chars_removed", pa.int64()),
        ("spans", pa.list_(SPAN)),
    ]
)
"""The edits table. `start` and `end` are code points of the text before the step. `removed` may be
null where what stood there must not be kept (personal data); such a step cannot be undone."""


class Cut(NamedTuple):
    """text[start:end] goes, `put` comes in its place; `rule` says why."""

    start: int
    end: int
    rule: str
    put: str = ""


def _apart(text: str, cuts: Iterable[Cut]) -> list[Cut]:
    """The cuts in order, without those that are empty or begin inside an earlier one."""
    kept: list[Cut] = []
    for cut in sorted(cuts, key=lambda c: (c.start, -c.end, c.rule)):
        if not 0 <= cut.start <= cut.end <= len(text):
            raise ValueError(f"the cut {cut} lies outside a text of {len(text)} characters")
        if (cut.end > cut.start or cut.put) and (not kept or cut.start >= kept[-1].end):
            kept.append(cut)
    return kept


def apply(text: str, cuts: Iterable[Cut], keep_removed: bool = True) -> tuple[str, dict[str, Any]]:
    """The text without the cuts, and their spans by rule (as in the edits table).

    Of two cuts that overlap the one that begins first is made (the longer one of two that begin
    together), the other is not. Raises ValueError for a cut outside the text.
    """
    parts: list[str] = []
    spans: dict[str, list[dict[str, Any]]] = {}
    at = 0
    for cut in _apart(text, cuts):
        parts += [text[at : cut.start], cut.put]
        removed = text[cut.start : cut.end] if keep_removed else None
        spans.setdefault(cut.rule, []).append(
            {"start": cut.start, "end": cut.end, "removed": removed, "put": cut.put}
        )
        at = cut.end
    parts.append(text[at:])
    return "".join(parts), spans


def moved(place: int, spans: Iterable[Mapping[str, Any]]) -> int:
    """Where a place of a text is after a step that made `spans` (sorted, apart): after what was put
    there, if it was inside of one.
    """
    shift = 0
    for span in spans:
        if span["start"] >= place:
            break
        shift += len(span["put"]) - (min(span["end"], place) - span["start"])
    return place + shift


def edit_rows(identity: bytes, step: str, spans: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the edits table, one a rule."""
    return [
        {
            "id": identity,
            "step": step,
            "rule": rule,
            "chars_removed": sum(s["end"] - s["start"] for s in spans[rule]),
            "spans": spans[rule],
        }
        for rule in sorted(spans)
    ]


def spans_by_id(table: pa.Table) -> dict[bytes, list[dict[str, Any]]]:
    """The spans that one step made in each document, sorted, from its rows of the edits table."""
    found: dict[bytes, list[dict[str, Any]]] = {}
    for row in table.select(["id", "spans"]).to_pylist():
        found.setdefault(row["id"], []).extend(row["spans"])
    return {identity: sorted(spans, key=lambda s: s["start"]) for identity, spans in found.items()}


def restore(text: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Undo one step: the text before it, from the text after it and the step's rows of a document.

    Raises UserError when a span does not hold what was removed, or does not fit the text.
    """
    parts: list[str] = []
    at = 0  # in the text after the step
    before = 0  # in the text before it
    for span in sorted((s for row in rows for s in row["spans"]), key=lambda s: s["start"]):
        if span["removed"] is None:
            raise UserError("a span keeps no removed text; this step cannot be undone")
        kept = span["start"] - before
        parts += [text[at : at + kept], span["removed"]]
        at += kept
        if text[at : at + len(span["put"])] != span["put"] or kept < 0:
            raise UserError(
                f"the span at {span['start']} does not fit the text; give the step's own"
            )
        at += len(span["put"])
        before = span["end"]
    return "".join([*parts, text[at:]])
