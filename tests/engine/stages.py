"""Small stages that the engine's tests run in real worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine.stage import ExchangeStage, GatherStage, MapStage, Shard, Tables, file_shard

ROWS = pa.schema([("record", pa.string()), ("value", pa.int64())])
COUNTS = pa.schema([("value", pa.int64()), ("count", pa.int64())])


class Params(Config):
    add: int = 1


def write_shards(folder: Path, values: list[list[int]]) -> list[Shard]:
    """One Parquet file a list; records are named `<file>:<row>`."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, group in enumerate(values):
        path = folder / f"{number}.parquet"
        records = [f"{number}:{row}" for row in range(len(group))]
        pq.write_table(pa.table({"record": records, "value": group}, schema=ROWS), path)
        shards.append(file_shard(path, key=str(number)))
    return shards


def add(batch: pa.Table, params: Config, side: Tables) -> Tables:
    assert isinstance(params, Params)
    extra = pc.sum(side["extra"]["value"]).as_py() if "extra" in side else 0
    return {"rows": batch.set_column(1, "value", pc.add(batch["value"], params.add + (extra or 0)))}


def misbehave(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """-1 raises, -2 kills the process, -3 hangs."""
    values = batch["value"].to_pylist()
    if -2 in values:
        os.kill(os.getpid(), signal.SIGKILL)
    if -3 in values:
        time.sleep(3600)
    if -1 in values:
        raise ValueError("minus one")
    return {"rows": batch}


def keys(table: pa.Table, params: Config) -> np.ndarray:
    values = table["value"].to_numpy().astype(np.uint64)
    return values * np.uint64(0x9E3779B97F4A7C15)


def count(table: pa.Table, params: Config, side: Tables) -> Tables:
    groups = table.group_by("value", use_threads=False).aggregate([("record", "count")])
    return {"counts": pa.table([groups["value"], groups["record_count"]], schema=COUNTS)}


def total(tables: Tables, params: Config) -> Tables:
    counts = tables["counts"]
    return {
        "total": pa.table(
            {"value": [counts.num_rows], "count": [pc.sum(counts["count"]).as_py()]}, schema=COUNTS
        )
    }


ADD = MapStage("add", "1", add, {"rows": ROWS}, batch_rows=4)
LARGE = MapStage("large", "1", add, {"rows": ROWS}, batch_rows=8192)
MISBEHAVE = MapStage("misbehave", "1", misbehave, {"rows": ROWS}, batch_rows=8)
COUNT = ExchangeStage("count", "1", keys, count, {"counts": COUNTS})
TOTAL = GatherStage("total", "1", total, {"total": COUNTS})


def hot_order(table: pa.Table, params: Config) -> pa.Array:
    """Within a key the last records first, as bytes."""
    inverted = [bytes(255 - b for b in r.encode()) for r in table["record"].to_pylist()]
    return pa.array(inverted, pa.binary())


def one_a_group(rows: Iterator[pa.Table], params: Config, side: Tables) -> Iterator[Tables]:
    """Of each value the first record, and how many rows there were before it."""
    last, seen = None, 0
    for table in rows:
        found = []
        for value in table["value"].to_pylist():
            if value != last:
                found.append((value, seen))
                last = value
            seen += 1
        columns = [pa.array([f[n] for f in found], pa.int64()) for n in (0, 1)]
        yield {"counts": pa.table(columns, schema=COUNTS)}


HOT = ExchangeStage("hot", "1", keys, one_a_group, {"counts": COUNTS}, order=hot_order, stream=True)


def slow(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """As `add`, at a pace that leaves time to kill something."""
    time.sleep(0.2)
    return add(batch, params, side)


SLOW = MapStage("slow", "1", slow, {"rows": ROWS}, batch_rows=1)


def marked(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The rows that the side table names, and how many rows of it were given."""
    given = pa.repeat(pa.scalar(side["marks"].num_rows), table.num_rows)
    inside = pc.is_in(table["record"], value_set=side["marks"]["record"].combine_chunks())
    return {"rows": table.set_column(1, "value", given).filter(inside)}


MARKED = MapStage("marked", "1", marked, {"rows": ROWS}, rowwise=False, narrow="record")
