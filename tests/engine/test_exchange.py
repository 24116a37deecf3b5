"""Sorted runs merge to one sorted stream, and a key of any size passes in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.engine import exchange, runs
from skywright.engine.runner import Runner
from tests.engine.stages import COUNT, HOT, Params, write_shards

ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 4), st.binary(max_size=2)), max_size=30), max_size=7
)


def table_of(rows: list[tuple[int, bytes, int]], ordered: bool) -> pa.Table:
    keys, orders, places = zip(*rows, strict=True) if rows else ((), (), ())
    columns = {"place": pa.array(places, pa.int64()), runs.KEY: pa.array(keys, pa.uint64())}
    if ordered:
        columns[runs.ORDER] = pa.array(orders, pa.binary())
    return pa.table(columns)


@settings(max_examples=150, deadline=None)
@given(groups=ROWS, ordered=st.booleans(), block=st.integers(1, 5), fan_in=st.integers(2, 4))
def test_a_merge_is_a_stable_sort(
    tmp_path_factory: pytest.TempPathFactory,
    groups: list[list[tuple[int, bytes]]],
    ordered: bool,
    block: int,
    fan_in: int,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "BLOCK_ROWS", block)
        patch.setattr(runs, "FAN_IN", fan_in)
        place, segments, everything = 0, [], []
        for number, group in enumerate(groups):
            rows = [(key, order, place + at) for at, (key, order) in enumerate(group)]
            place += len(rows)
            everything += rows
            table = runs.sort_rows(table_of(rows, ordered))
            with runs.RunWriter(folder / f"{number}", table.schema) as writer:
                writer.write([])  # an empty partition before it
                writer.write([table])
            segments.append(writer.segments()[1])
        tables = list(runs.merged(segments, folder))
    found = [row for table in tables for row in table["place"].to_pylist()]
    everything.sort(key=lambda row: (row[0], row[1] if ordered else b"", row[2]))
    assert found == [row[2] for row in everything]


def test_an_index_names_where_each_partition_stands(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [list(range(100))])
    with Runner(tmp_path / "out", executor="inline", build="b") as runner:
        runner.exchange(COUNT, shards, Params(), partitions=5)
    (path,) = list((tmp_path / "out" / "count").glob("*/runs.arrow"))
    index = json.loads((path.parent / "done.json").read_text())["runs"]
    assert sum(index["rows"]) == 100
    body = path.read_bytes()
    assert index["offset"][0] == index["header_bytes"][0]
    for place, (offset, size, rows) in enumerate(
        zip(index["offset"], index["bytes"], index["rows"], strict=True)
    ):
        table = pa.ipc.open_stream(body[offset : offset + size]).read_all()
        owners = table[runs.KEY].to_numpy() % np.uint64(5)
        assert table.num_rows == rows
        assert set(owners.tolist()) == {place}
        assert offset + size == (index["offset"] + [len(body)])[place + 1]


def test_a_shard_sorted_in_pieces_gives_the_bytes_of_one_sorted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = write_shards(tmp_path / "data", [[n % 7 for n in range(3000)], [3] * 500])
    with Runner(tmp_path / "whole", executor="inline") as runner:
        whole = runner.exchange(HOT, shards, Params(), partitions=3)
    monkeypatch.setattr(exchange, "READ_ROWS", 100)
    monkeypatch.setattr(exchange, "PIECE_BYTES", 1)
    with Runner(tmp_path / "pieces", executor="inline") as runner:
        pieces = runner.exchange(HOT, shards, Params(), partitions=3)
    assert [task.key for task in whole.tasks] == [task.key for task in pieces.tasks]
    assert [r["outputs"] for r in whole.records] == [r["outputs"] for r in pieces.records]
    found = {row["value"] for row in whole.read("counts").to_pylist()}
    assert found == set(range(7))


def test_rows_of_a_key_come_in_the_stages_order(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[5, 5, 5], [5, 5]])
    seen: list[str] = []
    with Runner(tmp_path / "out", executor="inline") as runner:
        split = runner.exchange(HOT, shards, Params(), partitions=1)
    for table in exchange._rows(split.tasks[0], tmp_path):
        seen += table["record"].to_pylist()
    assert seen == ["1:1", "1:0", "0:2", "0:1", "0:0"]


def test_one_more_input_redoes_its_own_task_and_the_partitions_it_touches(tmp_path: Path) -> None:
    values = [[n * 13 + at for at in range(40)] for n in range(20)]
    shards = write_shards(tmp_path / "data", [*values, [5, 5, 5]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        runner.exchange(HOT, shards[:-1], Params(), partitions=16)
        before = {path.name for path in (tmp_path / "out" / "hot").iterdir()}
        runner.exchange(HOT, shards, Params(), partitions=16)
        after = {path.name for path in (tmp_path / "out" / "hot").iterdir()}
    assert len(before - {"manifests"}) == 20 + 16
    assert len(after - before) == 1 + 1  # the new shard's rows have one key


HOT_KEY = """
import json, resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq
from skywright.engine.runner import Runner
from skywright.engine.stage import file_shard
from tests.engine.stages import HOT, Params, ROWS

folder, shards, rows = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

found = []
for number in range(shards):
    path = folder / f"{number}.parquet"
    with pq.ParquetWriter(path, ROWS) as writer:
        for start in range(0, rows, 50_000):
            places = range(start, start + 50_000)
            names = pa.array([f"{number:04d}:{n:08d}{'x' * 40}" for n in places])
            value = pa.array(np.full(50_000, 7))
            writer.write_table(pa.table([names, value], schema=ROWS))
    found.append(file_shard(path, key=str(number)))
before = peak()
with Runner(folder / "out", executor="inline") as runner:
    out = runner.exchange(HOT, found, Params(), partitions=2)
print(json.dumps({"before": before, "after": peak(), "rows": out.read("counts").to_pylist()}))
"""


def hot_key(folder: Path, shards: int, rows: int) -> dict:
    folder.mkdir()
    command = [sys.executable, "-c", HOT_KEY, str(folder), str(shards), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=3000)
    return dict(json.loads(done.stdout))


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_a_key_of_millions_of_rows_takes_no_more_memory_than_a_key_of_some(tmp_path: Path) -> None:
    few = hot_key(tmp_path / "few", 4, 250_000)
    many = hot_key(tmp_path / "many", 16, 250_000)
    assert many["rows"] == few["rows"] == [{"value": 7, "count": 0}]
    # 4,000,000 rows of 62 bytes and their keys and orders are 0.5 GB; 1,000,000 a quarter of it.
    assert many["after"] - few["after"] < 60


def test_a_hot_key_passes_in_the_memory_of_some_blocks(tmp_path: Path) -> None:
    few = hot_key(tmp_path / "few", 2, 100_000)
    many = hot_key(tmp_path / "many", 8, 100_000)
    assert many["rows"] == few["rows"] == [{"value": 7, "count": 0}]
    # Four times the rows: 75 MiB more of them if they were held.
    assert many["after"] - few["after"] < 30
