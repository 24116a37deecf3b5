"""What no current build names is garbage; what counts, or may be on its way, is not."""

from __future__ import annotations

import uuid
from pathlib import Path

import fsspec
import pytest

from skywright.engine.builds import bytes_of, garbage
from skywright.engine.files import TEMPORARY
from skywright.engine.runner import Runner
from skywright.engine.store import open_store
from skywright.errors import UserError
from tests.engine.stages import ADD, Params, write_shards


def build(root: str, data: Path, name: str, add: int) -> None:
    shards = write_shards(data, [[1, 2, 3], [4]])
    with Runner(root, executor="inline", build=name) as runner:
        runner.map(ADD, shards, Params(add=add))


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_the_newest_builds_stay_and_older_ones_go(tmp_path: Path, kind: str) -> None:
    root = str(tmp_path / "out") if kind == "folder" else f"memory://{uuid.uuid4().hex}"
    for add in (1, 2, 3):
        build(root, tmp_path / "data", f"b{add}", add)
    store = open_store(root)
    size = bytes_of(store, "b3")
    assert size == bytes_of(store, "b1") > 0
    assert garbage(store, keep=3).files == {}
    found = garbage(store, keep=1)
    assert 2 * size < found.bytes
    assert {"builds/b1.json", "builds/b2.json"} <= set(found.files)
    store.remove(list(found.files))
    assert garbage(store, keep=1).files == {}
    assert bytes_of(store, "b3") == size
    assert bytes_of(store, "b1") == 0
    left = {name.split("/")[1] for name, _ in store.files() if name.startswith("add/")}
    assert len(left - {"manifests"}) == 2


def test_a_run_that_stops_halfway_gives_up_nothing_of_the_run_before(tmp_path: Path) -> None:
    root, shards = str(tmp_path / "out"), write_shards(tmp_path / "data", [[1, 2, 3], [4]])
    with Runner(root, executor="inline", build="b") as runner:
        runner.map(ADD, shards, Params(add=1))
        runner.map(ADD, shards, Params(add=2))
    stopped = Runner(root, executor="inline", build="b")
    with stopped.store.held():
        stopped.map(ADD, shards, Params(add=3))  # and never finished
    assert garbage(open_store(root)).files == {}
    with Runner(root, executor="inline", build="b") as runner:
        runner.map(ADD, shards, Params(add=3))
    gone = {name.split("/")[1] for name in garbage(open_store(root)).files}
    assert len(gone - {"manifests"}) == 4  # the tasks of the first run


def test_a_lost_attempt_on_an_object_store_is_garbage(tmp_path: Path) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    build(root, tmp_path / "data", "b", 1)
    store = open_store(root)
    (output, *_) = {n.rpartition("/")[0] for n, _ in store.files() if n.endswith("/done.json")}
    with fsspec.open(f"{root}/{output}/lost/rows.parquet", "wb") as stream:
        stream.write(b"half")
    assert garbage(store).files == {f"{output}/lost/rows.parquet": 4}


def test_what_a_writer_is_at_and_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "out"
    build(str(root), tmp_path / "data", "b", 1)
    (root / "add" / f"{TEMPORARY}x").mkdir()
    (root / "add" / f"{TEMPORARY}x" / "rows.parquet").write_bytes(b"half")
    (root / "notes").mkdir()
    (root / "notes" / "mine.txt").write_text("mine")
    assert garbage(open_store(str(root))).files == {}


def test_nothing_is_removed_while_a_build_is_at_work(tmp_path: Path) -> None:
    root = str(tmp_path / "out")
    build(root, tmp_path / "data", "b", 1)
    with (
        Runner(root, executor="inline", build="c"),
        pytest.raises(UserError, match="is at work there"),
        open_store(root).held(alone=True),
    ):
        pass
    with open_store(root).held(alone=True):
        pass
