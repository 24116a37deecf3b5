"""One task of a stage: what it reads, how it runs, how its output becomes visible.

A task's outputs are written to a folder of this machine and published under `<stage>/<key>` of the
store, where they count once the done record stands (`skywright.engine.store`). A rowwise task
isolates a record that raises by cutting its batch in halves; records known to kill or hang a worker
are given in `Task.skip`.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine import exchange
from skywright.engine.files import sha256_file
from skywright.engine.stage import (
    ERRORS,
    ERRORS_SCHEMA,
    PATH_SEPARATOR,
    ExchangeStage,
    GatherStage,
    MapStage,
    Shard,
    Stage,
    Tables,
)
from skywright.engine.store import Store, fetch, is_remote, open_store
from skywright.errors import FULL, UserError, disk_error

RUNS = "runs"  # the sorted file a partition task writes
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
    def store(self) -> Store:
        """Where inputs made by other tasks stand, and the output will."""
        return open_store(self.root)

    @property
    def name(self) -> str:
        """What the output is called in the store."""
        return f"{self.stage.name}/{self.key}"

    @property
    def folder(self) -> Path:
        """Where the finished output stands, in a store that is a folder."""
        return Path(self.store.place(self.name))

    @property
    def input_bytes(self) -> int:
        """Size of what the task reads for itself, side inputs left out."""
        return sum(shard.bytes for group in self.inputs.values() for shard in group)

    @property
    def label(self) -> str:
        """How messages call this task."""
        shards = [shard.key or shard.path for group in self.inputs.values() for shard in group]
        where = f"partition {self.partition}" if self.kind == "reduce" else ", ".join(shards[:3])
        return f"{self.stage.name} [{where}]"


def finished(task: Task) -> dict[str, Any] | None:
    """The task's done record, or None if its output is not complete."""
    return task.store.record(task.name)


def run_task(task: Task, heartbeat: Heartbeat = lambda batch: None) -> dict[str, Any]:
    """Run `task` unless it is done; return its done record.

    `heartbeat(i)` is called before batch i of a rowwise map, so that a watcher knows where a
    worker died. Raises UserError for a full disk and for a missing right.
    """
    try:
        return _run(task, heartbeat)
    except OSError as error:
        where = f"{task.root} (temporary files: {tempfile.gettempdir()})"
        told = disk_error(error, where)
        if told is None:
            raise
        raise told from None


def _run(task: Task, heartbeat: Heartbeat) -> dict[str, Any]:
    done = finished(task)
    if done is not None:
        return done
    started, started_cpu = time.monotonic(), _cpu_seconds()

    def make(folder: Path) -> dict[str, Any]:
        record: dict[str, Any] = {
            "stage": task.stage.name,
            "version": task.stage.version,
            "key": task.key,
            "source": task.source,
            "inputs": [shard.identity() for group in task.inputs.values() for shard in group],
        }
        with here(task) as (local, scratch):
            if task.kind == "partition":
                record["runs"] = exchange.write_runs(local, folder / f"{RUNS}.arrow", scratch)
                rows = {RUNS: sum(record["runs"]["rows"])}
                files = {RUNS: f"{RUNS}.arrow"}
            else:
                rows = _write_tables(local, folder, scratch, heartbeat)
                files = {name: f"{name}.parquet" for name in rows}
        record["outputs"] = {
            name: {
                "file": file,
                "sha256": sha256_file(folder / file),
                "bytes": (folder / file).stat().st_size,
                "rows": rows[name],
            }
            for name, file in files.items()
        }
        record["seconds"] = round(time.monotonic() - started, 4)
        record["cpu_seconds"] = round(_cpu_seconds() - started_cpu, 4)
        record["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return record

    return task.store.publish(task.name, make)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# ---------------------------------------------------------------- reading


@contextmanager
def here(task: Task) -> Iterator[tuple[Task, Path]]:
    """The task with its inputs on this machine, and a scratch folder, for the block's length.

    What stands on an object store is copied; the runs of a reducer are not, for it reads a range of
    each. Inputs that no task has made are left to the stage's own reader.
    """
    # A map or a gather over a folder copies nothing and spills nothing: it makes no folder.
    spills = is_remote(task.root) or task.kind in ("partition", "reduce")
    own = tempfile.TemporaryDirectory(prefix="skywright-") if spills else nullcontext("")
    with own as folder:
        scratch = Path(folder or tempfile.gettempdir())
        if is_remote(task.root) and task.kind != "reduce":
            inputs = {
                name: tuple(_fetched(shard, task.root, scratch) for shard in shards)
                for name, shards in task.inputs.items()
            }
            task = replace(task, inputs=inputs)
        yield task, scratch


def _fetched(shard: Shard, root: str, scratch: Path) -> Shard:
    paths = shard.path.split(PATH_SEPARATOR)
    local = [fetch(path, scratch) if path.startswith(f"{root}/") else path for path in paths]
    return replace(shard, path=PATH_SEPARATOR.join(local))


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
    with tempfile.TemporaryDirectory(prefix="skywright-") as scratch:
        tables = [pq.read_table(fetch(path, Path(scratch))) for path in paths]
    return pa.concat_tables(tables).combine_chunks()


def narrowed_side_tables(task: Task, column: str, values: pa.ChunkedArray) -> Tables:
    """The rows of a task's side tables whose `column` holds one of `values`, a row group at a time.

    Row groups whose smallest and largest value lie outside those of `values` are not read: of
    tables that are sorted by the column a task reads about its share.
    """
    wanted = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
    ends = pc.min_max(wanted).as_py()
    found = {}
    for name, shards in task.side.items():
        parts: list[pa.Table] = []
        for shard in shards:
            with fsspec.open(shard.path, "rb") as stream, pq.ParquetFile(stream) as file:
                parts.append(file.schema_arrow.empty_table())
                at = file.schema_arrow.names.index(column)
                for group in range(file.num_row_groups):
                    told = file.metadata.row_group(group).column(at).statistics
                    known = told is not None and told.has_min_max and ends["min"] is not None
                    if known and (told.max < ends["min"] or told.min > ends["max"]):
                        continue
                    rows = file.read_row_group(group)
                    parts.append(rows.filter(pc.is_in(rows[column], value_set=wanted)))
        found[name] = pa.concat_tables(parts).combine_chunks()
    return found


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
            if isinstance(error, OSError) and error.errno in FULL:
                raise  # no fault of a record
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


def _results(task: Task, scratch: Path, heartbeat: Heartbeat) -> Iterator[Tables]:
    stage = task.stage
    narrow = isinstance(stage, MapStage) and stage.narrow
    side = {} if narrow else side_tables(task)
    if isinstance(stage, MapStage) and stage.rowwise:
        for index, batch in enumerate(batches(task)):
            heartbeat(index)
            yield apply_rows(stage, batch, task.params, side, task.skip)
    elif isinstance(stage, MapStage):
        (shard,) = task.inputs[""]
        whole = pa.concat_tables(list(stage.reader(shard, task.params)))
        if narrow:
            side = narrowed_side_tables(task, narrow, whole[narrow])
        yield checked(stage, stage.outputs, stage.function(whole, task.params, side))
    elif isinstance(stage, ExchangeStage):
        for tables in exchange.reduced(task, side, scratch):
            yield checked(stage, stage.outputs, tables)
    elif isinstance(stage, GatherStage):
        tables = {name: _read(shards) for name, shards in task.inputs.items()}
        yield checked(stage, stage.outputs, stage.function(tables, task.params))


def _write_tables(task: Task, folder: Path, scratch: Path, heartbeat: Heartbeat) -> dict[str, int]:
    stage = task.stage
    schemas = stage.tables() if isinstance(stage, MapStage) else stage.outputs
    rows = dict.fromkeys(schemas, 0)
    writers = {
        name: pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd")
        for name, schema in schemas.items()
    }
    waiting: dict[str, list[pa.Table]] = {name: [] for name in schemas}
    held_rows, held_bytes = dict.fromkeys(schemas, 0), dict.fromkeys(schemas, 0)

    def flush(name: str) -> None:
        if waiting[name]:
            table = pa.concat_tables(waiting[name]).combine_chunks()
            writers[name].write_table(table, row_group_size=FLUSH_ROWS)
            waiting[name].clear()
            held_rows[name] = held_bytes[name] = 0

    try:
        for tables in _results(task, scratch, heartbeat):
            for name, table in tables.items():
                rows[name] += table.num_rows
                if table.num_rows:
                    waiting[name].append(table)
                    held_rows[name] += table.num_rows
                    held_bytes[name] += table.nbytes
                if held_rows[name] >= FLUSH_ROWS or held_bytes[name] >= FLUSH_BYTES:
                    flush(name)
        for name in schemas:
            flush(name)
    finally:
        for writer in writers.values():
            writer.close()
    return rows
