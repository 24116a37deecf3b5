"""Parquet tables whose rows carry ready text.

A Parquet file says in its footer how large everything is. What is beyond all measure there is
refused before it is read, and columns of strings are read as dictionaries, so that a value that
stands in a million rows is held once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.corpus.config import FieldsConfig
from skywright.corpus.records import Record
from skywright.corpus.sources.frames import FREE_BYTES, MAX_RATIO
from skywright.corpus.sources.jsonl import record_of
from skywright.corpus.special.rows import needed
from skywright.errors import UserError

FREE_ROWS = 1_000_000
"""A row group may have this many values a column, and one more for every byte that it is packed."""

_BATCH_ROWS = 256
_HELD_BYTES = 32 * 2**20


def open_parquet(file: IO[bytes], path: str, **options: Any) -> pq.ParquetFile:
    """The file, its checksums verified where it has them, or a `UserError` when it is none."""
    try:
        return pq.ParquetFile(file, page_checksum_verification=True, **options)
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise UserError(f"{path}: no readable Parquet file ({error}); make it again") from None


def read_parquet_source(
    file: IO[bytes],
    path: str,
    name: str,
    fields: FieldsConfig,
    max_bytes: int,
    form: str = "text",
    groups: tuple[int, int | None] = (0, None),
) -> Iterator[Record]:
    """One record a row; "<name>:<row>" counts from 0 over the whole file. `groups` are the row
    groups to read, from and to. Raises UserError without a column of text.

    A row group that is refused is one record; of one that breaks off, every row is.
    """
    with open_parquet(file, path) as table:
        schema = table.schema_arrow
    wanted = (fields.text,) if fields.parts is None else needed(fields.parts)
    missing = [column for column in wanted if column not in schema.names]
    if missing:
        part = "text" if fields.parts is None else "parallel" if fields.parallel else "exercise"
        raise UserError(
            f"{path}: no column {missing[0]!r} (there are {', '.join(schema.names)}); "
            f"set `fields.{part}` of this input"
        )
    kind = schema.field(wanted[0]).type
    if fields.parts is None and not _holds_text(kind):
        raise UserError(
            f"{path}: the column {fields.text!r} is of the type {kind}, not of text; set "
            "`fields.text` of this input, or make the file again with a column of strings"
        )
    strings = [field.name for field in schema if _is_text(field.type)]
    size = file.seek(0, 2)
    with open_parquet(file, path, read_dictionary=strings) as table:
        number = 0
        last = table.num_row_groups if groups[1] is None else groups[1]
        for group in range(last):
            rows = table.metadata.row_group(group).num_rows
            if group < groups[0]:
                number += rows
                continue
            refusal = _refusal(table.metadata.row_group(group), size)
            if refusal:
                yield Record(
                    f"{name}:{number}", rule="bomb",
                    message=f"a group of {rows} rows with {refusal}",
                )  # fmt: skip
            else:
                yield from _group(table, group, number, rows, name, fields, max_bytes, form)
            number += max(rows, 0)


def _holds_text(kind: pa.DataType) -> bool:
    """Whether values of a column come as text, or as nothing at all."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*texts, pa.types.is_null))


def _is_text(kind: pa.DataType) -> bool:
    return any(
        test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)
    )


def _refusal(group: Any, file_bytes: int) -> str | None:
    """What of a row group's sizes is beyond all measure, or None."""
    columns = [group.column(i) for i in range(group.num_columns)]
    packed = sum(max(column.total_compressed_size, 0) for column in columns)
    unpacked = sum(max(column.total_uncompressed_size, 0) for column in columns)
    values = max([group.num_rows, *(column.num_values for column in columns)])
    if packed > file_bytes or group.num_rows < 0:
        return f"{packed} packed bytes in a file of {file_bytes}"
    if unpacked > FREE_BYTES + MAX_RATIO * packed:
        return f"{unpacked} bytes out of {packed}"
    if values > FREE_ROWS + packed:
        return f"{values} values in {packed} bytes"
    return None


def _group(
    table: pq.ParquetFile,
    group: int,
    first: int,
    rows: int,
    name: str,
    fields: FieldsConfig,
    max_bytes: int,
    form: str,
) -> Iterator[Record]:
    number, last = first, first + rows
    try:
        for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], use_threads=False):
            for row, size in _rows(batch, max_bytes):
                if row is None:
                    yield Record(
                        f"{name}:{number}", rule="too_large", message=f"{size} bytes", bytes=size,
                        value=float(size), threshold=float(max_bytes),
                    )  # fmt: skip
                else:
                    yield record_of(row, f"{name}:{number}", fields, size, form)
                number += 1
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        for lost in range(number, last):
            yield Record(
                f"{name}:{lost}", rule="corrupt", message=f"a damaged row group: {error}"[:500]
            )


def _rows(batch: pa.RecordBatch, max_bytes: int) -> Iterator[tuple[dict[str, Any] | None, int]]:
    """Rows with the size of their strings; None instead of a row that is too large to be made."""
    sizes = np.zeros(batch.num_rows, dtype=np.int64)
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            length = pc.fill_null(pc.binary_length(column.dictionary), 0).to_numpy(False)
            index = pc.fill_null(column.indices, -1).to_numpy(False)
            sizes += np.append(length, 0)[index]  # -1 (null) is the 0 at the end
        else:
            sizes += column.nbytes // max(batch.num_rows, 1)
    start = 0
    while start < batch.num_rows:
        if sizes[start] > max_bytes:
            yield None, int(sizes[start])
            start += 1
            continue
        held, stop = 0, start
        while stop < batch.num_rows and sizes[stop] <= max_bytes and held < _HELD_BYTES:
            held += int(sizes[stop])
            stop += 1
        part = batch.slice(start, stop - start)
        columns = [
            (
                column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            ).to_pylist()
            for column in part.columns
        ]
        for number, values in enumerate(zip(*columns, strict=True), start):
            yield dict(zip(part.schema.names, values, strict=True)), int(sizes[number])
        start = stop
