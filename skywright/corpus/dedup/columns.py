"""Tables from disk; fixed-size binary columns as numpy arrays and back, no Python object a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def read(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file. (`pq.read_table` looks for a data set first: a millisecond or two a file.)"""
    with pq.ParquetFile(path) as file:
        return file.read(columns=None if columns is None else list(columns))


def read_where(path: str, column: str, values: pa.Array) -> pa.Table:
    """The rows of a Parquet file whose `column` holds one of `values`; of a row group that has none
    nothing but that column is read.
    """
    with pq.ParquetFile(path) as file:
        parts = [file.schema_arrow.empty_table()]
        for group in range(file.num_row_groups if len(values) else 0):
            mask = pc.is_in(file.read_row_group(group, columns=[column])[column], value_set=values)
            if pc.any(mask).as_py():
                parts.append(file.read_row_group(group).filter(mask))
    return pa.concat_tables(parts)


def fixed_bytes(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """A fixed-size binary column as uint8 (rows, width), without a copy; nulls read as anything."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    width = column.type.byte_width
    data = column.buffers()[1]
    if data is None or not len(column):
        return np.zeros((len(column), width), np.uint8)
    whole = np.frombuffer(data, np.uint8).reshape(-1, width)
    return whole[column.offset : column.offset + len(column)]


def fixed_column(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """uint8 (rows, width) as a fixed-size binary column."""
    rows = np.ascontiguousarray(rows, dtype=np.uint8)
    kind = pa.binary(rows.shape[1])
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])


def words(rows: np.ndarray) -> list[np.ndarray]:
    """uint8 (rows, width) as uint64 columns that order as the bytes do, the first one first."""
    n, width = rows.shape
    padded = np.zeros((n, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = rows
    return list(padded.view(">u8").astype(np.uint64).T)


def numbered(*columns: pa.Array | pa.ChunkedArray) -> list[np.ndarray]:
    """Fixed-size binary columns as int64 numbers that order as the bytes do; null is -1.

    Equal bytes have one number in all of the columns. It makes sorts by long keys cheap.
    """
    whole = pa.chunked_array([c for column in columns for c in _chunks(column)], columns[0].type)
    encoded = whole.combine_chunks().dictionary_encode()
    order = np.lexsort(words(fixed_bytes(encoded.dictionary))[::-1])
    place = np.full(len(order) + 1, -1, np.int64)
    place[order] = np.arange(len(order))
    found = place[encoded.indices.fill_null(-1).to_numpy()]
    return np.split(found, np.cumsum([len(column) for column in columns])[:-1])


def _chunks(column: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]


def order_by(*keys: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Row numbers sorted by the keys, the first one first; ties stay in order."""
    flat = [word for key in keys for word in (key if isinstance(key, list) else [key])]
    return np.lexsort(flat[::-1])


def group_starts(*keys: np.ndarray | list[np.ndarray]) -> np.ndarray:
    """Where a new group begins in rows sorted by the keys, and the number of rows at the end."""
    flat = [word for key in keys for word in (key if isinstance(key, list) else [key])]
    changed = np.zeros(max(len(flat[0]) - 1, 0), bool)
    for word in flat:
        changed |= word[1:] != word[:-1]
    inner = np.flatnonzero(changed) + 1
    return np.concatenate([[0], inner, [len(flat[0])]]) if len(flat[0]) else np.zeros(1, np.int64)
