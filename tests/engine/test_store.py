"""The first done record counts, on a folder, in memory and on S3; the bytes are the same."""

from __future__ import annotations

import importlib.util
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from skywright.engine.files import sha256_file
from skywright.engine.runner import Output, Runner
from skywright.engine.store import ObjectStore, fetch, open_store
from skywright.errors import UserError
from tests.engine import s3
from tests.engine.stages import ADD, COUNT, HOT, TOTAL, Params, write_shards

needs_s3 = pytest.mark.skipif(
    importlib.util.find_spec("s3fs") is None, reason="s3fs is not installed (extra `s3`)"
)


@pytest.fixture
def bucket() -> Iterator[s3.Bucket]:
    with s3.serving() as found:
        yield found


def run(root: Path | str, data: Path, executor: str = "inline") -> list[Output]:
    shards = write_shards(data, [[1, 2, 3, 4, 5, 6], [3, 3], [], [7]])
    with Runner(root, executor=executor, workers=2, build="b") as runner:  # type: ignore[arg-type]
        added = runner.map(ADD, shards, Params(add=2))
        side = {"extra": added.shards("rows")[2:3]}
        again = runner.map(ADD, added.shards("rows"), Params(), side)
        counted = runner.exchange(COUNT, added.shards("rows"), Params(), partitions=3)
        hot = runner.exchange(HOT, again.shards("rows"), Params(), partitions=2)
        total = runner.gather(TOTAL, {"counts": counted.shards("counts")}, Params())
    return [added, again, counted, hot, total]


def bytes_of(outputs: list[Output], folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    return [
        sha256_file(Path(fetch(shard.path, folder)))
        for output in outputs
        for table in output.records[0]["outputs"]
        for shard in output.shards(table)
    ]


def test_memory_gives_the_same_bytes_as_a_folder(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    folder = run(tmp_path / "out", tmp_path / "data")
    memory = run(root, tmp_path / "data")
    assert bytes_of(folder, tmp_path / "a") == bytes_of(memory, tmp_path / "b")
    copied = memory[-1].here(tmp_path / "b").shards("total")[0].path
    assert pq.read_table(copied)["value"].to_pylist() == [7]
    with pytest.raises(UserError, match="one process's own memory"):
        Runner(root, "processes")


@needs_s3
@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_s3_gives_the_same_bytes_as_a_folder(
    tmp_path: Path, bucket: s3.Bucket, executor: str
) -> None:
    folder = run(tmp_path / "out", tmp_path / "data")
    remote = run("s3://bucket/work", tmp_path / "data", executor)
    assert bytes_of(folder, tmp_path / "a") == bytes_of(remote, tmp_path / "b")
    assert bucket.ranges  # reducers read parts of the runs
    stood = dict(bucket.objects)
    run("s3://bucket/work", tmp_path / "data", executor)
    changed = {key for key in bucket.objects if bucket.objects[key] != stood.get(key)}
    assert {key.split("/")[3] for key in changed} <= {"builds"}
    assert set(stood) == set(bucket.objects)


def attempt(store: Any, name: str, text: str, ready: threading.Barrier) -> dict[str, Any]:
    def make(folder: Path) -> dict[str, Any]:
        (folder / "x.txt").write_text(text)
        ready.wait()  # both have written before either publishes
        return {"outputs": {"x": {"file": "x.txt"}}, "by": text}

    return dict(store.publish(name, make))


def race(root: str) -> tuple[list[dict[str, Any]], Any]:
    store, ready, records = open_store(root), threading.Barrier(2), []
    threads = [
        threading.Thread(target=lambda t=text: records.append(attempt(store, "s/k", t, ready)))
        for text in ("one", "two")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return records, store


@pytest.mark.parametrize("kind", ["folder", pytest.param("s3", marks=needs_s3)])
def test_of_two_attempts_at_once_one_counts_and_both_are_told_so(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        records, store = race(str(tmp_path))
        assert records[0] == records[1] == store.record("s/k")
        assert (tmp_path / "s" / "k" / "x.txt").read_text() == records[0]["by"]
        return
    with s3.serving() as bucket:
        records, store = race("s3://bucket/root")
        assert records[0] == records[1] == store.record("s/k")
        assert bucket.refused == 1
        files = dict(store.files())
        assert set(files) == {"s/k/done.json", f"s/k/{records[0]['outputs']['x']['file']}"}
        copied = fetch(store.place(f"s/k/{records[0]['outputs']['x']['file']}"), tmp_path)
        assert Path(copied).read_text() == records[0]["by"]


@needs_s3
def test_a_store_that_overwrites_whatever_it_is_told_is_refused(tmp_path: Path) -> None:
    with (
        s3.serving(honours_conditions=False),
        pytest.raises(UserError, match="ignores If-None-Match"),
    ):
        Runner("s3://bucket/work", "inline")


def test_an_attempt_without_a_done_record_does_not_count(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    store = open_store(root)
    assert isinstance(store, ObjectStore)

    def dies(folder: Path) -> dict[str, Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.publish("s/k", dies)
    assert store.record("s/k") is None
    assert store.records(["s/k", "s/l"]) == {}
    made = store.publish("s/k", lambda folder: _table(folder))
    assert store.records(["s/k", "s/l"]) == {"s/k": made}


def _table(folder: Path) -> dict[str, Any]:
    pq.write_table(pa.table({"a": [1]}), folder / "t.parquet")
    return {"outputs": {"t": {"file": "t.parquet"}}}


def test_an_address_that_leads_nowhere_is_named() -> None:
    with pytest.raises(UserError, match=r"nothing://x: cannot be reached"):
        open_store("nothing://x")
