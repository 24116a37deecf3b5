"""JSON lines, packed or plain, whose objects carry ready text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from skywright.corpus.config import FieldsConfig
from skywright.corpus.records import Record
from skywright.corpus.sources.frames import FrameError, packing_of
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.lines import lines
from skywright.corpus.special.rows import taken

MAX_JSON_DEPTH = 64
"""Nesting that a line may have, counted before parsing: Python's parser would give up near 1,000,
at a depth that hangs on who called it. Rows of public corpora nest 2 to 4 deep."""

MAX_NAMES = 20
"""Of the fields of a record without text so many are named."""

_BRACKETS = b"[]{}"
_NO_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
# A string that never ends is matched to the end of the line, so that no text is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def read_jsonl(
    source: Input,
    name: str,
    fields: FieldsConfig,
    max_bytes: int,
    form: str = "text",
    start: int = 0,
    end: int | None = None,
    first_line: int = 1,
) -> Iterator[Record]:
    """One record a line; "<name>:<line>" counts from 1, and empty lines are no records.

    Of a plain file the lines that begin in [`start`, `end`) are read; the first of them has the
    number `first_line`.
    """
    number = first_line - 1
    try:
        for number, line in enumerate(
            lines(source, packing_of(source, name), max_bytes, start, end), first_line
        ):
            if line.size > max_bytes:
                yield Record(
                    f"{name}:{number}", rule="too_large", message=f"{line.size} bytes",
                    bytes=line.size, value=float(line.size), threshold=float(max_bytes),
                )  # fmt: skip
            elif line.data.strip():
                yield _parse(line.data, f"{name}:{number}", fields, form, first=number == 1)
    except FrameError as error:
        yield Record(
            f"{name}:{number + 1}", rule=error.rule,
            message=f"the file cannot be read from here: {error}",
        )  # fmt: skip


def json_depth(line: bytes) -> int:
    """How deep a JSON text nests, if that is more than `MAX_JSON_DEPTH` (else some number up to
    it).
    """
    if line.count(b"{") + line.count(b"[") <= MAX_JSON_DEPTH:
        return 0
    brackets = _STRING.sub(b"", line).translate(None, _NO_BRACKETS)
    if not brackets:
        return 0
    codes = np.frombuffer(brackets, dtype=np.uint8)
    opening = (codes == ord("[")) | (codes == ord("{"))
    return int(np.where(opening, 1, -1).cumsum(dtype=np.int64).max())


def _parse(line: bytes, record: str, fields: FieldsConfig, form: str, first: bool) -> Record:
    def bad(rule: str, message: str, **values: Any) -> Record:
        return Record(record, rule=rule, message=message, bytes=len(line), **values)

    depth = json_depth(line)
    if depth > MAX_JSON_DEPTH:
        return bad("depth", "nested too deeply", value=depth, threshold=MAX_JSON_DEPTH)
    try:
        row = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        return bad("not_utf8", str(error))
    except ValueError as error:
        return bad("not_json", str(error))
    if not isinstance(row, dict):
        return bad("not_json", "the line holds no object")
    return record_of(row, record, fields, len(line), form)


def _no_text(row: dict[str, Any], value: Any, name: str, plain: bool) -> str:
    """What stands where the text should be, and which fields there are instead."""
    found = "" if value is None else f" (it holds a value of the type {type(value).__name__})"
    others = ", ".join(list(row)[:MAX_NAMES]) or "none"
    told = f"no text in the field {name!r}{found}; the other fields are {others}; "
    told += f"set `fields{'.text' if plain else ''}` of this input"
    return told.encode("utf-8", "backslashreplace").decode()[:500]


def record_of(
    row: dict[str, Any], record: str, fields: FieldsConfig, size: int, form: str = "text"
) -> Record:
    """A record from a row's fields; what is not text, url or date goes into `meta`."""
    name = fields.text
    if fields.parts is None:
        text = row.pop(fields.text, None)
    else:
        form, text, name = taken(row, fields.parts)
    url, date = row.pop(fields.url, None), row.pop(fields.date, None)
    if not isinstance(text, str):
        return Record(
            record,
            rule="missing_text",
            message=_no_text(row, text, name, fields.parts is None),
            bytes=size,
        )
    url = None if url is None else str(url)
    date = None if date is None else str(date)
    try:
        payload = text.encode()
        for value in (url, date):
            (value or "").encode()
    except UnicodeEncodeError as error:
        return Record(
            record, rule="lone_surrogate", message=f"half a character: {error.reason}", bytes=size
        )
    # ASCII escapes, because other fields may hold lone surrogates too and need not be lost for it.
    meta = json.dumps(row, sort_keys=True, default=str)
    return Record(record, url, date, payload, form, meta=meta, bytes=len(payload))
