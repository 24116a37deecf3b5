"""JSON lines (plain, gzip, zstd) and Parquet tables whose rows carry ready text."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from skywright.corpus.config import FieldsConfig
from skywright.corpus.records import Record
from skywright.errors import UserError

_READ_BYTES = 1 << 16


def _open(path: Path) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(path, "rb"))
    if path.name.endswith(".zst"):
        return io.BufferedReader(_ZstdFrames(open(path, "rb")), _READ_BYTES)
    return open(path, "rb")


class _ZstdFrames(io.RawIOBase):
    """Unpacked bytes of a zstd file; raises EOFError when it ends inside a frame.

    (The reader of the zstandard package takes a cut file for a finished one.)
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._packed = self._unpacked = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpacked:
            self._packed = self._packed or self._file.read(_READ_BYTES)
            if not self._packed:
                if self._begun:
                    raise EOFError("the file ends inside a zstd frame")
                return 0
            self._begun = True
            self._unpacked = self._frame.decompress(self._packed)
            self._packed = b""
            if self._frame.eof:
                self._packed = self._frame.unused_data
                self._frame = zstandard.ZstdDecompressor().decompressobj()
                self._begun = False
        size = min(len(buffer), len(self._unpacked))
        buffer[:size] = self._unpacked[:size]
        self._unpacked = self._unpacked[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def read_jsonl(path: Path, name: str, fields: FieldsConfig, max_bytes: int) -> Iterator[Record]:
    """One record a line; "<name>:<line>" counts from 1, and empty lines are no records."""
    with _open(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line, size = _line(file, max_bytes)
            except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
                rule = "truncated" if isinstance(error, EOFError) else "corrupt"
                yield Record(
                    f"{name}:{number}", rule=rule, message=f"the file is damaged from here: {error}"
                )
                return
            if not size:
                return
            if size > max_bytes:
                yield Record(
                    f"{name}:{number}", rule="too_large", message=f"{size} bytes", bytes=size,
                    value=float(size), threshold=float(max_bytes),
                )  # fmt: skip
            elif line.strip():
                yield _parse(line, f"{name}:{number}", fields, first=number == 1)


def _line(file: IO[bytes], max_bytes: int) -> tuple[bytes, int]:
    """The next line and its size; of a line above the limit only the size is of use."""
    line = file.readline(max_bytes + 1)
    size = len(line)
    while size > max_bytes and line and not line.endswith(b"\n"):
        line = file.readline(max_bytes)
        size += len(line)
    return line, size


def _parse(line: bytes, record: str, fields: FieldsConfig, first: bool) -> Record:
    def bad(rule: str, message: str) -> Record:
        return Record(record, rule=rule, message=message, bytes=len(line))

    try:
        row = json.loads(line.decode("utf-8-sig" if first else "utf-8"))
    except UnicodeDecodeError as error:
        return bad("not_utf8", str(error))
    except (ValueError, RecursionError) as error:
        return bad("not_json", str(error) or "nested too deeply")
    if not isinstance(row, dict):
        return bad("not_json", "the line holds no object")
    return record_of(row, record, fields, len(line))


def record_of(row: dict[str, Any], record: str, fields: FieldsConfig, size: int) -> Record:
    """A record from a row's fields; what is not text, url or date goes into `meta`."""
    text = row.pop(fields.text, None)
    url, date = row.pop(fields.url, None), row.pop(fields.date, None)
    if not isinstance(text, str):
        return Record(
            record, rule="missing_text", message=f"no text in the field {fields.text!r}", bytes=size
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
    return Record(record, url, date, payload, "text", meta=meta, bytes=len(payload))


def read_parquet_source(
    path: Path, name: str, fields: FieldsConfig, max_bytes: int
) -> Iterator[Record]:
    """One record a row; "<name>:<row>" counts from 0. Raises UserError without a text column."""
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: no readable Parquet file ({error}); make it again") from None
    with file:
        if fields.text not in file.schema_arrow.names:
            raise UserError(
                f"{path}: no column {fields.text!r} (there are "
                f"{', '.join(file.schema_arrow.names)}); set `fields.text` of this input"
            )
        number = 0
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                record = record_of(row, f"{name}:{number}", fields, 0)
                number += 1
                if record.bytes > max_bytes:
                    record = Record(
                        record.record, record.url, record.date, rule="too_large",
                        message=f"{record.bytes} bytes", bytes=record.bytes,
                        value=float(record.bytes), threshold=float(max_bytes),
                    )  # fmt: skip
                yield record
