"""The two halves of an exchange: a task a shard that sorts its rows into a run file, and a task a
partition that reads its segment of every run file as one sorted stream.

Both halves hold some blocks of rows at a time, whatever the size of a shard or of a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from skywright.engine.runs import KEY, ORDER, RunWriter, Segment, merged, read_schema, sort_rows
from skywright.engine.stage import ExchangeStage, Shard, Tables

if TYPE_CHECKING:
    from skywright.engine.task import Task

OWNER = "__partition"
READ_ROWS = 16384
# Rows of a shard are sorted this many bytes at a time; the pieces are merged from disk. The sort
# holds a piece three times over.
PIECE_BYTES = 64 * 2**20

Index = dict[str, list[Any]]
"""Of a run file: `rows`, `sha256`, `offset` and `bytes` of each partition's segment, and
`header_bytes` (one number)."""


def write_runs(task: Task, path: Path, scratch: Path) -> Index:
    """Sort the rows of a partition task's shard into a run file; return its index."""
    pieces = _sorted_pieces(task)
    first = next(pieces)
    second = next(pieces, None)
    schema = first.drop_columns([OWNER]).schema
    with RunWriter(path, schema) as writer:
        if second is None:
            for rows in _by_partition(first, task.partitions):
                writer.write([rows])
        else:
            spilled = [
                _spill(piece, schema, task.partitions, scratch / f"piece-{number}")
                for number, piece in enumerate(_chain(first, second, pieces))
            ]
            for partition in range(task.partitions):
                writer.write(merged([segments[partition] for segments in spilled], scratch))
    names = ("rows", "sha256", "offset", "bytes")
    return {
        "header_bytes": [writer.header_bytes],
        **{name: [part[name] for part in writer.index] for name in names},
    }


def _chain(first: pa.Table, second: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield second
    yield from rest


def _spill(piece: pa.Table, schema: pa.Schema, partitions: int, path: Path) -> Sequence[Segment]:
    with RunWriter(path, schema) as writer:
        for rows in _by_partition(piece, partitions):
            writer.write([rows])
    return writer.segments()


def _by_partition(piece: pa.Table, partitions: int) -> Iterator[pa.Table]:
    """The rows of each partition of a sorted piece, empty ones too."""
    ends = np.searchsorted(piece[OWNER].to_numpy(), np.arange(partitions + 1), "left")
    bare = piece.drop_columns([OWNER])
    for start, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        yield bare.slice(start, end - start)


def _sorted_pieces(task: Task) -> Iterator[pa.Table]:
    """The shard's rows in pieces of bounded size, each sorted by partition, key and order."""
    stage = task.stage
    assert isinstance(stage, ExchangeStage)
    held: list[pa.Table] = []
    size = 0
    (shard,) = task.inputs[""]
    with pq.ParquetFile(shard.path) as file:
        for batch in file.iter_batches(batch_size=READ_ROWS):
            held.append(_with_keys(task, pa.Table.from_batches([batch])))
            size += held[-1].nbytes
            if size >= PIECE_BYTES:
                yield sort_rows(pa.concat_tables(held), OWNER).combine_chunks()
                held, size = [], 0
        if not held:
            held = [_with_keys(task, file.schema_arrow.empty_table())]
    yield sort_rows(pa.concat_tables(held), OWNER).combine_chunks()


def _with_keys(task: Task, table: pa.Table) -> pa.Table:
    stage = task.stage
    assert isinstance(stage, ExchangeStage)
    keys = np.ascontiguousarray(stage.keys(table, task.params), dtype=np.uint64)
    if len(keys) != table.num_rows:
        raise ValueError(f"{task.label}: {len(keys)} keys for {table.num_rows} rows")
    owners = (keys % np.uint64(task.partitions)).astype(np.int32)
    if stage.order is not None:
        order = stage.order(table, task.params).cast(pa.binary())
        table = table.append_column(ORDER, order)
    return table.append_column(KEY, pa.array(keys)).append_column(OWNER, pa.array(owners))


# ---------------------------------------------------------------- the second half


def segment_shard(run: Shard, index: Index, partition: int) -> Shard:
    """A partition's segment of a run file, as an input of the task that reduces it."""
    where = {
        "header": str(index["header_bytes"][0]),
        **{name: str(index[name][partition]) for name in ("offset", "bytes", "rows")},
    }
    return Shard(run.path, index["sha256"][partition], int(where["bytes"]), None, run.key, where)


def _rows(task: Task, scratch: Path) -> Iterator[pa.Table]:
    """The rows of the task's partition, sorted, in small tables."""
    segments = [
        Segment(shard.path, *(int(shard.meta[name]) for name in ("offset", "bytes", "rows")))
        for shard in task.inputs[""]
    ]
    for table in merged(segments, scratch):
        yield _bare(table)


def _bare(table: pa.Table) -> pa.Table:
    return table.drop_columns([name for name in (KEY, ORDER) if name in table.column_names])


def reduced(task: Task, side: Tables, scratch: Path) -> Iterator[Tables]:
    """What the stage's function makes of the task's partition."""
    stage: Any = task.stage
    if stage.stream:
        yield from stage.function(_rows(task, scratch), task.params, side)
        return
    tables = list(_rows(task, scratch))
    if not tables:
        first = task.inputs[""][0]
        schema = read_schema(first.path, int(first.meta["header"]), scratch)
        tables = [_bare(schema.empty_table())]
    yield stage.function(pa.concat_tables(tables).combine_chunks(), task.params, side)
