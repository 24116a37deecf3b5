"""A reader sees a whole file or none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from skywright.engine.files import (
    TEMPORARY,
    atomic_folder,
    atomic_open,
    read_json,
    stable_hash,
    sweep_temporary,
    write_json,
)


def write_and_fail(path: Path) -> None:
    with atomic_open(path) as stream:
        stream.write(b"new")
        raise RuntimeError


def test_a_failed_write_leaves_the_old_file_and_no_remains(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        write_and_fail(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_appears_whole_and_the_first_one_stays(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "x").write_text(content)
            assert (tmp_path / "out").exists() == (content == "second")
    assert (tmp_path / "out" / "x").read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_dead_writer_left_is_swept_and_a_living_ones_is_not(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from skywright.engine.files import atomic_open\n"
        "with atomic_open(Path(sys.argv[1])) as stream:\n"
        "    stream.write(b'x'); stream.flush(); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "dead")], check=False)
    with atomic_open(tmp_path / "alive") as stream:
        assert len([e for e in tmp_path.iterdir() if e.name.startswith(TEMPORARY)]) == 2
        sweep_temporary(tmp_path)
        assert len([e for e in tmp_path.iterdir() if e.name.startswith(TEMPORARY)]) == 1
        stream.write(b"y")
    assert (tmp_path / "alive").read_bytes() == b"y"


def test_json_round_trip_and_hash_ignore_key_order(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "中文"})
    assert read_json(tmp_path / "a.json") == {"a": "中文", "b": 1}
    assert stable_hash({"a": 1, "b": 2}) == stable_hash({"b": 2, "a": 1})
    assert stable_hash({"a": 1}) != stable_hash({"a": 1.5})
