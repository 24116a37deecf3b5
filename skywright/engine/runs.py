"""Sorted runs: how the rows of an exchange lie on disk, and how many runs are read as one.

A run file holds a header (an Arrow stream without rows, for the schema) and then one segment a
partition: an Arrow stream of blocks, sorted by key and, within a key, by the stage's order. The
index (offset, bytes, rows and SHA-256 of every segment) stands in the done record. A reader of a
partition takes its segment of every file and merges them block by block: memory holds one block
a run, however many rows a key has.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from skywright.engine.store import fetch_range

KEY = "__key"
ORDER = "__order"

# A block is what a merge holds of each run, 64 runs at a time: at most some 16 MiB in all. Smaller
# blocks cost more in headers and in packing (32 KiB ones: a tenth more bytes, measured on bands).
BLOCK_BYTES = 256 * 2**10
BLOCK_ROWS = 8192
FAN_IN = 64

_PACKED = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True)
class Segment:
    """Where the rows of one partition stand in a run file."""

    path: str
    offset: int
    bytes: int
    rows: int


def sort_rows(table: pa.Table, *first: str) -> pa.Table:
    """Rows sorted by the columns `first`, then by key and order; ties stay as they were."""
    names = [*first, KEY, *([ORDER] if ORDER in table.column_names else [])]
    if names == [KEY]:
        at = pa.array(np.argsort(table[KEY].to_numpy(), kind="stable"))
    else:
        at = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in names])
    return table.take(at)


def block_rows(table: pa.Table) -> int:
    """How many rows of such a table make a block."""
    row_bytes = table.nbytes / max(table.num_rows, 1)
    return max(1, min(BLOCK_ROWS, int(BLOCK_BYTES / max(row_bytes, 1.0))))


def blocks(tables: Iterable[pa.Table]) -> Iterator[pa.RecordBatch]:
    """The rows of all tables, in blocks."""
    held: list[pa.Table] = []
    rows, wanted = 0, 0
    for table in tables:
        if not table.num_rows:
            continue
        wanted = wanted or block_rows(table)
        held.append(table)
        rows += table.num_rows
        while rows >= wanted:
            whole = pa.concat_tables(held)
            yield _one_batch(whole.slice(0, wanted))
            held, rows = [whole.slice(wanted)], rows - wanted
    if rows:
        yield _one_batch(pa.concat_tables(held))


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    # A copy: a slice would write, and hash, the buffers of its whole table.
    return table.combine_chunks().take(pa.array(np.arange(table.num_rows))).to_batches()[0]


class RunWriter:
    """Writes a run file, partition after partition, and keeps its index."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self._schema = path, schema
        self._sink = pa.OSFile(str(path), "wb")
        with pa.ipc.new_stream(self._sink, schema):
            pass
        self.header_bytes = self._sink.tell()
        self.index: list[dict[str, Any]] = []

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._sink.close()

    def write(self, tables: Iterable[pa.Table]) -> None:
        """Write the next partition's sorted rows."""
        start, rows, writer = self._sink.tell(), 0, None
        digest = hashlib.sha256()
        for batch in blocks(tables):
            writer = writer or pa.ipc.new_stream(self._sink, self._schema, options=_PACKED)
            writer.write_batch(batch)
            digest.update(_bare(batch))
            rows += batch.num_rows
        if writer is not None:
            writer.close()
        size = self._sink.tell() - start
        found = {"rows": rows, "sha256": digest.hexdigest() if rows else ""}
        self.index.append({**found, "offset": start, "bytes": size})

    def segments(self) -> list[Segment]:
        """Where each partition stands in this file."""
        return [
            Segment(str(self.path), part["offset"], part["bytes"], part["rows"])
            for part in self.index
        ]


def _bare(batch: pa.RecordBatch) -> pa.Buffer:
    """The batch's own bytes, so that packing has no part in what names a partition."""
    return batch.serialize()


def read_schema(path: str, header_bytes: int, scratch: Path) -> pa.Schema:
    """The schema of a run file."""
    local, offset = fetch_range(path, 0, header_bytes, scratch)
    with pa.OSFile(local) as source:
        source.seek(offset)
        return pa.ipc.open_stream(source).schema


# ---------------------------------------------------------------- merging


class _Head:
    """The block at which the reading of one run stands."""

    def __init__(self, segment: Segment, scratch: Path) -> None:
        path, offset = fetch_range(segment.path, segment.offset, segment.bytes, scratch)
        self._source = pa.OSFile(path)
        self._source.seek(offset)
        self._reader = pa.ipc.open_stream(self._source)
        self._ordered = ORDER in self._reader.schema.names
        self.next()

    def next(self) -> bool:
        """Go to the next block; False behind the last one."""
        try:
            self.batch = self._reader.read_next_batch()
        except StopIteration:
            self._source.close()
            return False
        self.at = 0
        self._keys = self.batch.column(KEY).to_numpy()
        return True

    def _order(self, row: int) -> bytes:
        return self.batch.column(ORDER)[row].as_py() if self._ordered else b""

    def last(self) -> tuple[int, bytes]:
        """Key and order of the block's last row."""
        return int(self._keys[-1]), self._order(len(self._keys) - 1)

    def take(self, key: int, order: bytes, inclusive: bool) -> pa.RecordBatch:
        """The rows up to this key and order, and those equal to both if `inclusive`."""
        low = int(np.searchsorted(self._keys, np.uint64(key), "left"))
        end = int(np.searchsorted(self._keys, np.uint64(key), "right"))
        if self._ordered:
            bisect = bisect_right if inclusive else bisect_left
            end = bisect(range(end), order, low, end, key=self._order)
        elif not inclusive:
            end = low
        start, self.at = self.at, max(self.at, end)
        return self.batch.slice(start, self.at - start)

    @property
    def empty(self) -> bool:
        return self.at >= self.batch.num_rows


def merged(segments: Sequence[Segment], scratch: Path) -> Iterator[pa.Table]:
    """The rows of sorted segments as one sorted stream of tables, ties in the segments' order.

    More than `FAN_IN` runs are first merged in groups to files in the folder `scratch`.
    """
    segments = [segment for segment in segments if segment.rows]
    level = 0
    while len(segments) > FAN_IN:
        groups = [segments[at : at + FAN_IN] for at in range(0, len(segments), FAN_IN)]
        segments = [
            _spilled(group, scratch / f"merge-{level}-{number}", scratch)
            for number, group in enumerate(groups)
        ]
        level += 1
    yield from _merge([_Head(segment, scratch) for segment in segments])


def _spilled(segments: Sequence[Segment], path: Path, scratch: Path) -> Segment:
    tables = _merge([_Head(segment, scratch) for segment in segments])
    first = next(tables)
    with RunWriter(path, first.schema) as writer:
        writer.write(table for group in ([first], tables) for table in group)
    return writer.segments()[0]


def _merge(heads: list[_Head]) -> Iterator[pa.Table]:
    """Of all blocks take what no later block can precede; then go on where a block is used up.

    The bound is the smallest last row of a block. Of several runs that hold it the first one goes
    on alone until it has passed it, which keeps ties in the order of the runs.
    """
    while heads:
        ends = [head.last() for head in heads]
        first = min(range(len(heads)), key=lambda place: (ends[place], place))
        parts = [head.take(*ends[first], place <= first) for place, head in enumerate(heads)]
        parts = [part for part in parts if part.num_rows]
        table = pa.Table.from_batches(parts)
        yield sort_rows(table) if len(parts) > 1 else table
        heads = [head for head in heads if not head.empty or head.next()]
