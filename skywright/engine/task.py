"""One task of a stage: what it reads, how it runs, how its output becomes visible.

A task's outputs are written to a temporary folder, renamed into `<root>/<stage>/<key>/`, and
count only once `done.json` stands in it. A rowwise task isolates a record that raises by cutting
its batch in halves; records known to kill or hang a worker are given in `Task.skip`.
"""

from __future__ import annotations

import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine.files import atomic_folder, read_json, sha256_file, write_json
from skywright.engine.stage import (
    ERRORS,
    ERRORS_SCHEMA,
    ExchangeStage,
    GatherStage,
    MapStage,
    Shard,
    Stage,
    Tables,
)
from skywright.errors import UserError

DONE = "done.json"
RUNS = "runs"  # the sorted file a partition task writes
KEY_COLUMN = "__key"
FLUSH_ROWS = 8192
FLUSH_BYTES = 64 * 2**20
Heartbeat = Callable[[int], None]


class TaskError(Exception):
    """A task failed for a reason that no single record explains."""


@dataclass(frozen=True)
class Task:
    """A unit of work with a content-hashed name; picklable."""

    stage: Stage
    kind: str  # "map", "partition", "reduce" or "gather"
    key: str
    root: str
    params: Config
    inputs: Mapping[str, Sequence[Shard]]  # {"": [shard]} for map and partition
    side: Mapping[str, Sequence[Shard]] = field(default_factory=dict)
    partitions: int = 0
    partition: int = -1
    source: str = ""  # hash of the stage's source code, recorded with the output
    skip: Mapping[str, str] = field(default_factory=dict)  # record -> error

    @property
    def folder(self) -> Path:
        """Where the finished output stands."""
        return Path(self.root) / self.stage.name / self.key

    @property
    def label(self) -> str:
        """How messages call this task."""
        shards = [shard.key or shard.path for group in self.inputs.values() for shard in group]
        where = f"partition {self.partition}" if self.kind == "reduce" else ", ".join(shards[:3])
        return f"{self.stage.name} [{where}]"


def finished(task: Task) -> dict[str, Any] | None:
    """The task's done record, or None if its output is not complete."""
    path = task.folder / DONE
    return read_json(path) if path.is_file() else None


def run_task(task: Task, heartbeat: Heartbeat = lambda batch: None) -> dict[str, Any]:
    """Run `task` unless it is done; return its done record.

    `heartbeat(i)` is called before batch i of a rowwise map, so that a watcher knows where a
    worker died.
    """
    done = finished(task)
    if done is not None:
        return done
    started, started_cpu = time.monotonic(), _cpu_seconds()
    with atomic_folder(task.folder) as folder:
        record: dict[str, Any] = {
            "stage": task.stage.name,
            "version": task.stage.version,
            "key": task.key,
            "source": task.source,
            "inputs": [shard.identity() for group in task.inputs.values() for shard in group],
        }
        if task.kind == "partition":
            record["partitions"] = _write_runs(task, folder)
            names = [f"{RUNS}.arrow"]
            rows = {RUNS: sum(part["rows"] for part in record["partitions"])}
        else:
            rows = _write_tables(task, folder, heartbeat)
            names = [f"{name}.parquet" for name in rows]
        record["outputs"] = {
            name.rsplit(".", 1)[0]: {
                "file": name,
                "sha256": sha256_file(folder / name),
                "bytes": (folder / name).stat().st_size,
                "rows": rows[name.rsplit(".", 1)[0]],
            }
            for name in names
        }
        record["seconds"] = round(time.monotonic() - started, 4)
        record["cpu_seconds"] = round(_cpu_seconds() - started_cpu, 4)
        write_json(folder / DONE, record)
    written = finished(task)
    if written is None:
        raise TaskError(f"{task.label}: {task.folder} exists without {DONE}; remove that folder")
    return written


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# ---------------------------------------------------------------- reading


def batches(task: Task) -> Iterator[pa.Table]:
    """The input of a rowwise map in batches of the stage's size, in order."""
    stage = task.stage
    assert isinstance(stage, MapStage)
    (shard,) = task.inputs[""]
    for table in stage.reader(shard, task.params):
        for start in range(0, table.num_rows, stage.batch_rows):
            yield table.slice(start, stage.batch_rows)


def _read(shards: Sequence[Shard]) -> pa.Table:
    if not shards:
        raise TaskError("a table of no shards has no columns; give at least one shard")
    return pa.concat_tables([pq.read_table(shard.path) for shard in shards])


@lru_cache(maxsize=8)
def _read_side(paths: tuple[str, ...]) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in paths]).combine_chunks()


def side_tables(task: Task) -> Tables:
    """The broadcast tables of a task, kept in memory between tasks of one worker."""
    return {
        name: _read_side(tuple(shard.path for shard in shards))
        for name, shards in task.side.items()
    }


# ---------------------------------------------------------------- running


def apply_rows(
    stage: MapStage, batch: pa.Table, params: Config, side: Tables, skip: Mapping[str, str]
) -> Tables:
    """Apply a rowwise function to a batch; bad records end in the table "errors"."""
    errors: list[dict[str, str]] = []
    if skip:
        bad = pc.is_in(batch["record"], value_set=pa.array(sorted(skip), pa.string()))
        for record in batch.filter(bad)["record"].to_pylist():
            errors.append({"record": record, "error": skip[record], "message": "worker lost"})
        batch = batch.filter(pc.invert(bad))
    parts: dict[str, list[pa.Table]] = {name: [] for name in stage.outputs}

    def attempt(rows: pa.Table) -> None:
        try:
            result = checked(stage, stage.outputs, stage.function(rows, params, side))
        except UserError:
            raise
        except Exception as error:
            if rows.num_rows > 1:
                half = rows.num_rows // 2
                attempt(rows.slice(0, half))
                attempt(rows.slice(half))
                return
            errors.append(
                {
                    "record": rows["record"][0].as_py(),
                    "error": f"error:{type(error).__name__}",
                    "message": str(error)[:500],
                }
            )
            return
        for name, table in result.items():
            parts[name].append(table)

    if batch.num_rows:
        attempt(batch)
    tables = {
        name: pa.concat_tables(found) if found else stage.outputs[name].empty_table()
        for name, found in parts.items()
    }
    tables[ERRORS] = pa.Table.from_pylist(errors, schema=ERRORS_SCHEMA)
    return tables


def checked(stage: Stage, schemas: Mapping[str, pa.Schema], tables: Tables) -> Tables:
    """Give the tables exactly the declared names, columns and types."""
    if set(tables) != set(schemas):
        raise TaskError(
            f"stage {stage.name!r} returned the tables {sorted(tables)}, "
            f"but declares {sorted(schemas)}"
        )
    return {name: tables[name].select(schemas[name].names).cast(schemas[name]) for name in schemas}


def _results(task: Task, heartbeat: Heartbeat) -> Iterator[Tables]:
    stage = task.stage
    side = side_tables(task)
    if isinstance(stage, MapStage) and stage.rowwise:
        for index, batch in enumerate(batches(task)):
            heartbeat(index)
            yield apply_rows(stage, batch, task.params, side, task.skip)
    elif isinstance(stage, MapStage):
        (shard,) = task.inputs[""]
        whole = pa.concat_tables(list(stage.reader(shard, task.params)))
        yield checked(stage, stage.outputs, stage.function(whole, task.params, side))
    elif isinstance(stage, ExchangeStage):
        table = _read_partition(task)
        yield checked(stage, stage.outputs, stage.function(table, task.params, side))
    elif isinstance(stage, GatherStage):
        tables = {name: _read(shards) for name, shards in task.inputs.items()}
        yield checked(stage, stage.outputs, stage.function(tables, task.params))


def _write_tables(task: Task, folder: Path, heartbeat: Heartbeat) -> dict[str, int]:
    stage = task.stage
    schemas = stage.tables() if isinstance(stage, MapStage) else stage.outputs
    rows = dict.fromkeys(schemas, 0)
    writers = {
        name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
        for name, schema in schemas.items()
    }
    waiting: dict[str, list[pa.Table]] = {name: [] for name in schemas}

    def flush(name: str) -> None:
        if waiting[name]:
            table = pa.concat_tables(waiting[name]).combine_chunks()
            writers[name].write_table(table, row_group_size=FLUSH_ROWS)
            waiting[name].clear()

    try:
        for tables in _results(task, heartbeat):
            for name, table in tables.items():
                rows[name] += table.num_rows
                if table.num_rows:
                    waiting[name].append(table)
                held = waiting[name]
                if (
                    sum(t.num_rows for t in held) >= FLUSH_ROWS
                    or sum(t.nbytes for t in held) >= FLUSH_BYTES
                ):
                    flush(name)
        for name in schemas:
            flush(name)
    finally:
        for writer in writers.values():
            writer.close()
    return rows


# ---------------------------------------------------------------- the exchange


def _write_runs(task: Task, folder: Path) -> list[dict[str, Any]]:
    """Write the shard's rows as one Arrow file: record batch p holds partition p, sorted by key.

    The file's own footer is the index of partitions. Returns rows and hash of each partition.
    """
    stage = task.stage
    assert isinstance(stage, ExchangeStage)
    table = _read(task.inputs[""])
    keys = np.ascontiguousarray(stage.keys(table, task.params), dtype=np.uint64)
    if len(keys) != table.num_rows:
        raise TaskError(f"{task.label}: {len(keys)} keys for {table.num_rows} rows")
    owner = keys % np.uint64(task.partitions)
    order = np.lexsort((keys, owner))
    counts = np.bincount(owner.astype(np.int64), minlength=task.partitions)
    table = table.append_column(KEY_COLUMN, pa.array(keys)).take(pa.array(order)).combine_chunks()
    parts = []
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        pa.OSFile(str(folder / f"{RUNS}.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as writer,
    ):
        start = 0
        for count in counts.tolist():
            rows = table.slice(start, count)
            batch = (
                rows.combine_chunks().to_batches()[0]
                if count
                else pa.RecordBatch.from_pylist([], schema=table.schema)
            )
            writer.write_batch(batch)
            parts.append({"rows": count, "sha256": _batch_hash(batch) if count else ""})
            start += count
    return parts


def _batch_hash(batch: pa.RecordBatch) -> str:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _read_partition(task: Task) -> pa.Table:
    tables = []
    for shard in task.inputs[""]:
        with pa.memory_map(shard.path) as source:
            tables.append(
                pa.Table.from_batches([pa.ipc.open_file(source).get_batch(task.partition)])
            )
    table = pa.concat_tables(tables)
    order = np.argsort(table[KEY_COLUMN].to_numpy(), kind="stable")
    return table.take(pa.array(order)).drop_columns([KEY_COLUMN]).combine_chunks()
