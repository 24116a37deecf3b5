"""Tables that several steps of the corpus share."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

ID = pa.binary(16)

DOCUMENT_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("url", pa.string()),
        ("date", pa.string()),
        ("source", pa.string()),
        ("lang", pa.string()),
        ("text", pa.string()),
        ("meta", pa.string()),
    ]
)
"""A document on its way; the final files leave `record` out."""

FINAL_SCHEMA = pa.schema([field for field in DOCUMENT_SCHEMA if field.name != "record"])

DROP_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("kept_id", ID),
        ("similarity", pa.float64()),
        ("message", pa.string()),
    ]
)
"""Why a record is dropped."""

LEDGER_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("id", ID),
        ("url", pa.string()),
        ("source", pa.string()),
        ("shard", pa.string()),
        ("kept", pa.bool_()),
        ("step", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("kept_id", ID),
        ("similarity", pa.float64()),
        ("lang", pa.string()),
        ("bytes", pa.int64()),
        ("chars", pa.int64()),
        ("tokens", pa.int64()),
        ("message", pa.string()),
    ]
)
"""One row an input record. `bytes` is the raw record, `chars` and `tokens` (mixed tokens) the
extracted text."""

TAKEDOWN = "takedown"

STEPS = (
    "read", "urls", "url_duplicates", "extract", "language", "signals", "heldout", "edits", "rules",
    "code", "decontaminate", "safety", "exact_duplicates", "near_duplicates", "line_duplicates",
    "substring_duplicates", TAKEDOWN,
)  # fmt: skip
"""Steps that drop records, in their order."""


def drop_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows (dictionaries that may leave fields out) as a table of drops."""
    return pa.Table.from_pylist(rows, schema=DROP_SCHEMA)


def drop(record: str, step: str, rule: str, **rest: Any) -> dict[str, Any]:
    """One row of a table of drops; `rest` are its other fields."""
    return {"record": record, "step": step, "rule": rule, **rest}
