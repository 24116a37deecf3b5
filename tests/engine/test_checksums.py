"""A remembered checksum is given only for the file as it was."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from skywright.engine import checksums
from skywright.engine.files import sha256_file


@pytest.fixture
def old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "a.bin"
    path.write_bytes(b"one")
    os.utime(path, (time.time() - 100, time.time() - 100))
    return path


def test_a_file_is_read_once_and_again_when_it_changes(
    old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = checksums.input_sha256(old_file)
    assert first == sha256_file(old_file)
    reads: list[Path] = []

    def counted(path: Path) -> str:
        reads.append(path)
        return sha256_file(path)

    monkeypatch.setattr(checksums, "sha256_file", counted)
    assert checksums.input_sha256(old_file) == first
    assert reads == []
    old_file.write_bytes(b"two")  # of the same size
    assert checksums.input_sha256(old_file) == sha256_file(old_file) != first
    assert checksums.input_sha256(old_file) != first
    assert len(reads) == 2  # a file that is seconds old is not remembered


def test_a_damaged_note_and_a_folder_without_notes_do_no_harm(
    old_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = checksums.input_sha256(old_file)
    (note,) = (tmp_path / "cache").rglob("*.json")
    note.write_text("{")
    assert checksums.input_sha256(old_file) == first
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert checksums.input_sha256(old_file) == first
