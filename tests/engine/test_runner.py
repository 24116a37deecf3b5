"""Outputs are named by what made them, the same on any executor, and survive bad records."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.engine.files import sha256_file
from skywright.engine.runner import Runner
from skywright.engine.settings import EngineConfig
from skywright.engine.stage import file_shard
from skywright.engine.task import TaskError
from skywright.errors import UserError
from tests.engine.stages import ADD, COUNT, LARGE, MARKED, MISBEHAVE, TOTAL, Params, write_shards


def hashes(root: Path) -> dict[str, str]:
    """sha256 of every output file but the done records, which hold times."""
    return {
        str(path.relative_to(root)): sha256_file(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "done.json"
    }


def pipeline(root: Path, data: Path, executor: str | EngineConfig) -> dict[str, str]:
    shards = write_shards(data, [[1, 2, 3, 4, 5, 6], [3, 3], [], [7]])
    with Runner(root, executor=executor, workers=2) as runner:  # type: ignore[arg-type]
        added = runner.map(ADD, shards, Params(add=2))
        counted = runner.exchange(COUNT, added.shards("rows"), Params(), partitions=3)
        total = runner.gather(TOTAL, {"counts": counted.shards("counts")}, Params())
    assert total.read("total").to_pylist() == [{"value": 7, "count": 9}]
    return hashes(root)


def test_processes_write_the_same_bytes_as_inline(tmp_path: Path) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    two = pipeline(tmp_path / "two", tmp_path / "data", "processes")
    assert one == two


def test_running_again_touches_nothing(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2], [3]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        first = runner.map(ADD, shards, Params())
        stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
        second = runner.map(ADD, shards, Params())
    assert first.records == second.records
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_one_more_shard_adds_tasks_and_touches_no_other(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2], [3], [4]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        before = runner.map(ADD, shards[:2], Params())
        after = runner.map(ADD, shards, Params())
    assert [task.key for task in after.tasks][:2] == [task.key for task in before.tasks]
    assert len(list((tmp_path / "out" / "add").glob("*/done.json"))) == 3


def test_a_new_shard_redoes_only_the_partitions_it_touches(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2, 3, 4, 5, 6, 7, 8], [1]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        before = runner.exchange(COUNT, shards[:1], Params(), partitions=4)
        after = runner.exchange(COUNT, shards, Params(), partitions=4)
    same = [a.key == b.key for a, b in zip(before.tasks, after.tasks, strict=True)]
    assert same.count(False) == 1


@pytest.mark.parametrize(
    "change", [{"params": Params(add=5)}, {"version": "2"}, {"key": "other"}, {"side": True}]
)
def test_anything_that_changes_output_changes_the_key(tmp_path: Path, change: dict) -> None:
    shard = write_shards(tmp_path / "data", [[1, 2]])[0]
    with Runner(tmp_path / "out", executor="inline") as runner:
        base = runner.map(ADD, [shard], Params())
        other = runner.map(
            replace(ADD, version=change.get("version", "1")),
            [replace(shard, key=change.get("key", shard.key))],
            change.get("params", Params()),
            side={"extra": base.shards("rows")} if "side" in change else None,
        )
    assert base.tasks[0].key != other.tasks[0].key


def test_paths_do_not_enter_the_key(tmp_path: Path) -> None:
    shard = write_shards(tmp_path / "data", [[1, 2]])[0]
    shutil.copy(shard.path, tmp_path / "copy.parquet")
    moved = file_shard(tmp_path / "copy.parquet", key=shard.key)
    with Runner(tmp_path / "out", executor="inline") as runner:
        one = runner.map(ADD, [shard], Params())
        two = runner.map(ADD, [moved], Params())
    assert one.tasks[0].key == two.tasks[0].key


def test_a_record_that_raises_costs_itself_alone(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, -1, 3, 4, -1], [5]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        out = runner.map(MISBEHAVE, shards, Params())
    assert out.read("rows")["value"].to_pylist() == [1, 3, 4, 5]
    assert out.errors()["record"].to_pylist() == ["0:1", "0:4"]
    assert set(out.errors()["error"].to_pylist()) == {"error:ValueError"}


def test_records_that_kill_or_hang_a_worker_are_found_and_the_verdict_is_replayed(
    tmp_path: Path,
) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2, -2, 4, 5, 6, 7, -3, 9, -1], [10]])
    with Runner(tmp_path / "out", executor="processes", workers=1, hang_s=8) as runner:
        out = runner.map(MISBEHAVE, shards, Params())
    assert out.read("rows")["value"].to_pylist() == [1, 2, 4, 5, 6, 7, 9, 10]
    found = {row["record"]: row["error"] for row in out.errors().to_pylist()}
    assert found == {"0:2": "error:killed", "0:7": "error:hang", "0:9": "error:ValueError"}
    before = hashes(tmp_path / "out")
    for task in out.tasks:
        shutil.rmtree(task.folder)
    # With the verdict stored, even the inline executor survives the same records.
    with Runner(tmp_path / "out", executor="inline") as runner:
        runner.map(MISBEHAVE, shards, Params())
    assert hashes(tmp_path / "out") == before


def test_a_narrowed_side_table_gives_a_task_the_rows_that_name_its_records(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2, 3], [4], []])
    marks = write_shards(tmp_path / "marks", [[1], [5] * 3, [7]])  # 0:0, 1:0 to 1:2, 2:0
    with Runner(tmp_path / "out", executor="inline") as runner:
        out = runner.map(MARKED, shards, Params(), {"marks": marks})
    rows = out.read("rows").to_pylist()
    assert rows == [{"record": "0:0", "value": 1}, {"record": "1:0", "value": 1}]


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.parquet: no such input file"):
        file_shard(tmp_path / "nowhere.parquet", key="x")


def test_two_inputs_of_one_content_and_key_are_refused(tmp_path: Path) -> None:
    shard = write_shards(tmp_path / "data", [[1]])[0]
    with Runner(tmp_path / "out", executor="inline") as runner, pytest.raises(TaskError):
        runner.map(ADD, [shard, shard], Params())


@settings(max_examples=20, deadline=None)
@given(
    values=st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=4),
    partitions=st.integers(1, 5),
)
def test_an_exchange_brings_equal_keys_together_exactly_once(
    tmp_path_factory: pytest.TempPathFactory, values: list[list[int]], partitions: int
) -> None:
    folder = tmp_path_factory.mktemp("exchange")
    shards = write_shards(folder / "data", values)
    with Runner(folder / "out", executor="inline") as runner:
        out = runner.exchange(COUNT, shards, Params(), partitions=partitions)
    found = out.read("counts").to_pylist()
    expected = collections.Counter(value for group in values for value in group)
    assert {row["value"]: row["count"] for row in found} == dict(expected)
    assert len(found) == len(expected)


def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.engine.test_runner import pipeline\n"
        "if __name__ == '__main__':\n"
        "    pipeline(Path(sys.argv[1]), Path(sys.argv[2]), 'processes')\n"
    )
    expected = pipeline(tmp_path / "calm", tmp_path / "data", "inline")
    command = [sys.executable, "-c", script, str(tmp_path / "out"), str(tmp_path / "data2")]
    for delay in (0.9, 1.6, 2.2):
        process = subprocess.Popen(command, start_new_session=True, cwd=Path.cwd())
        time.sleep(delay)  # the moment of the kill, not a wait for something
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    pipeline(tmp_path / "out", tmp_path / "data2", "processes")
    assert hashes(tmp_path / "out") == expected


def test_output_files_are_plain_parquet(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "data", [[1, 2]])
    with Runner(tmp_path / "out", executor="inline") as runner:
        out = runner.map(ADD, shards, Params())
    assert pq.read_table(out.shards("rows")[0].path)["value"].to_pylist() == [2, 3]


# ---------------------------------------------------------------- no room

NO_ROOM = """
import resource, sys
from pathlib import Path
from skywright.engine.runner import Runner
from skywright.errors import UserError
from tests.engine.stages import LARGE, Params, write_shards
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shards = write_shards(folder / "data", [list(range(3)), list(range(0, 10**12, 10**7 + 7))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        with Runner(folder / "out", executor=sys.argv[2], workers=1) as runner:
            runner.map(LARGE, shards, Params())
    except UserError as error:
        sys.exit(f"error: {error}")
"""


@pytest.mark.parametrize("executor", ["inline", "processes"])
def test_a_worker_that_finds_no_room_is_one_line_and_the_rerun_goes_on(
    tmp_path: Path, executor: str
) -> None:
    # The limit on a file's size stands for a quota.
    script = tmp_path / "script.py"
    script.write_text(NO_ROOM)
    ended = subprocess.run(
        [sys.executable, str(script), str(tmp_path), executor], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()}, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'out'} (temporary files: ")
    assert "File too large; free some space and run the same command again" in line
    shards = [file_shard(path, key=path.stem) for path in sorted((tmp_path / "data").iterdir())]
    with Runner(tmp_path / "out", executor="inline") as runner:
        assert runner.map(LARGE, shards, Params()).errors().num_rows == 0
    assert not list((tmp_path / "out").rglob(".tmp-*"))


def test_a_full_disk_is_no_fault_of_a_record(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        shards = write_shards(tmp_path / "data", [list(range(0, 10**12, 10**7 + 7))])
        with (
            Runner(disk, executor="processes", workers=1) as runner,
            pytest.raises(UserError, match="No space left on device; free some space"),
        ):
            runner.map(LARGE, shards, Params())
        subprocess.run(["mount", "-o", "remount,size=32m", str(disk)], check=True)
        with Runner(disk, executor="processes", workers=1) as runner:
            assert runner.map(LARGE, shards, Params()).errors().num_rows == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
