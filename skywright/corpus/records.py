"""What a reader hands on: one row a record, good or bad, in the order of the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

RECORD_SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("url", pa.string()),
        ("date", pa.string()),
        ("payload", pa.binary()),
        ("form", pa.string()),
        ("status", pa.int32()),
        ("content_type", pa.string()),
        ("charset", pa.string()),
        ("meta", pa.string()),
        ("rule", pa.string()),
        ("value", pa.float64()),
        ("threshold", pa.float64()),
        ("message", pa.string()),
        ("bytes", pa.int64()),
    ]
)
"""`payload` is the raw page ("html"), the UTF-8 text ("text", or with markup), or the parts of a
text as JSON ("parallel", "exercise"), by `form`; null when `rule` names
what was wrong with the record. `bytes` is the size of what was read."""

BATCH_ROWS = 64
BATCH_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Record:
    """One input record. `record` is "<source>/<file>:<offset>"."""

    record: str
    url: str | None = None
    date: str | None = None
    payload: bytes | None = None
    form: str = "html"
    status: int | None = None
    content_type: str | None = None
    charset: str | None = None
    meta: str = "{}"
    rule: str | None = None
    value: float | None = None
    threshold: float | None = None
    message: str | None = None
    bytes: int = 0


def document_id(url: str | None, payload: bytes) -> bytes:
    """16-byte BLAKE2b of the URL and the raw payload: what a document is called everywhere."""
    digest = hashlib.blake2b((url or "").encode("utf-8", "replace"), digest_size=16)
    digest.update(b"\0")
    digest.update(payload)
    return digest.digest()


def tables(records: Iterable[Record]) -> Iterator[pa.Table]:
    """Records as tables of at most `BATCH_ROWS` rows and about `BATCH_BYTES`; at least one."""
    rows: list[dict[str, object]] = []
    held = 0
    yielded = False
    for record in records:
        rows.append(vars(record))
        held += len(record.payload or b"")
        if len(rows) >= BATCH_ROWS or held >= BATCH_BYTES:
            yield pa.Table.from_pylist(rows, schema=RECORD_SCHEMA)
            rows, held, yielded = [], 0, True
    if rows or not yielded:
        yield pa.Table.from_pylist(rows, schema=RECORD_SCHEMA)
