"""Workers that share a folder do each task once, and take over from one that died."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skywright.engine.settings import EngineConfig, Slice
from skywright.engine.slices import owner
from skywright.errors import UserError
from tests.engine.test_runner import hashes, pipeline

SCRIPT = """
import sys
from pathlib import Path
from skywright.engine.settings import EngineConfig, Slice
from tests.engine.test_runner import pipeline

if __name__ == "__main__":
    number, count = int(sys.argv[3]), int(sys.argv[4])
    part = Slice(number=number, count=count, lease_s=float(sys.argv[5]))
    pipeline(Path(sys.argv[1]), Path(sys.argv[2]), EngineConfig(executor="inline", slice=part))
"""


def outputs(root: Path) -> dict[str, str]:
    return {name: value for name, value in hashes(root).items() if not name.startswith("slices")}


def start(root: Path, data: Path, number: int, count: int, lease_s: float) -> subprocess.Popen:
    arguments = [str(root), str(data), str(number), str(count), str(lease_s)]
    return subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], cwd=Path.cwd())


@pytest.mark.parametrize("count", [2, 3])
def test_slices_write_the_bytes_of_one_worker_and_each_does_its_own(
    tmp_path: Path, count: int
) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    workers = [
        start(tmp_path / "out", tmp_path / f"data{n}", n, count, 3600) for n in range(1, count + 1)
    ]
    assert [worker.wait(timeout=1500) for worker in workers] == [0] * count
    assert outputs(tmp_path / "out") == one
    done = [json.loads(p.read_text()) for p in (tmp_path / "out").glob("*/*/done.json")]
    numbers = range(1, count + 1)
    assert len({owner(record["key"], numbers) for record in done}) == count


def test_the_tasks_of_a_dead_worker_are_taken_over_after_its_lease(tmp_path: Path) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    # Slice 1 stops at its first barrier, where slice 2 is missing; slice 3 never comes.
    first = start(tmp_path / "out", tmp_path / "data1", 1, 3, 3600)
    while not (tmp_path / "out" / "slices" / "1.json").exists():
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(tmp_path / "out", tmp_path / "data2", 2, 3, 1.0)
    assert second.wait(timeout=1500) == 0
    assert outputs(tmp_path / "out") == one


def test_a_worker_that_stood_still_for_longer_than_the_lease_does_no_harm(tmp_path: Path) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    frozen = start(tmp_path / "out", tmp_path / "data1", 1, 2, 1.0)
    while not (tmp_path / "out" / "slices" / "1.json").exists():
        time.sleep(0.05)
    os.kill(frozen.pid, signal.SIGSTOP)
    other = start(tmp_path / "out", tmp_path / "data2", 2, 2, 1.0)
    assert other.wait(timeout=1500) == 0
    os.kill(frozen.pid, signal.SIGCONT)
    assert frozen.wait(timeout=1500) == 0
    assert outputs(tmp_path / "out") == one


def test_tasks_are_spread_evenly_and_only_those_of_the_dead_move() -> None:
    keys = [f"{n:032x}" for n in range(3000)]
    before = {key: owner(key, [1, 2, 3]) for key in keys}
    after = {key: owner(key, [1, 3]) for key in keys}
    assert all(900 < n < 1100 for n in collections.Counter(before.values()).values())
    assert all(after[key] == before[key] for key in keys if before[key] != 2)
    moved = collections.Counter(after[key] for key in keys if before[key] == 2)
    assert all(n > 400 for n in moved.values())


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3"])
def test_a_wrong_slice_is_named(text: str) -> None:
    with pytest.raises(UserError, match="write it as i/n"):
        Slice.parse(text)
    assert Slice.parse(" 2/3", 5.0) == Slice(number=2, count=3, lease_s=5.0)
    assert EngineConfig(slice=Slice.parse("1/1")).executor == "processes"


def test_a_slice_begins_where_others_have_finished(tmp_path: Path) -> None:
    one = pipeline(tmp_path / "one", tmp_path / "data", "inline")
    shutil.copytree(tmp_path / "one", tmp_path / "out")
    late = start(tmp_path / "out", tmp_path / "data2", 2, 2, 3600)
    assert late.wait(timeout=1500) == 0
    assert outputs(tmp_path / "out") == one
