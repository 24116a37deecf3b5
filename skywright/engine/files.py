"""Atomic writes and checksums for local files.

Every write goes to a temporary name in the same folder, is flushed to disk, renamed into place,
and the folder is flushed too: a reader sees the whole file or none, also after a power cut. (A
note that may as well be the earlier one after a power cut spares the flush of its folder.)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any

import psutil

from skywright.errors import CLOSED, FULL

TEMPORARY = ".tmp-"  # prefix of names that readers must ignore


def _temporary_for(path: Path) -> Path:
    """A name beside `path` that says which process is writing it."""
    owner = f"{socket.gethostname()}.{os.getpid()}"
    return path.parent / f"{TEMPORARY}{path.name}.{uuid.uuid4().hex}@{owner}"


def fsync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename inside it survives a crash."""
    fsync_all([folder])


def fsync_all(paths: Sequence[Path]) -> None:
    """Flush files and folders to disk, all at once.

    Those that wait together share one commit of the file system's journal: five of them one after
    the other took 3 to 4 times as long on ext4 (docs/engine.md).
    """
    errors: list[OSError] = []

    def flush(path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            errors.append(error)

    # No pool: one would be lost in a process that forks, and a thread costs little beside a flush.
    threads = [Thread(target=flush, args=(path,)) for path in paths[1:]]
    for thread in threads:
        thread.start()
    for path in paths[:1]:
        flush(path)
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@contextmanager
def atomic_open(path: Path, mode: str = "wb", flush_folder: bool = True) -> Iterator[IO[Any]]:
    """Open `path` for writing; it appears under its name only if the block succeeds.

    `mode` is "wb" or "w" (UTF-8). Parent folders are made. Without `flush_folder` a power cut soon
    after may bring back what stood there before, whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_for(path)
    try:
        with open(temporary, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        if flush_folder:
            fsync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `path` only if the block succeeds.

    Files inside are flushed before the rename. If `path` already exists, the new folder is
    discarded: outputs are named by what made them, so the one that stands is the same.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_for(path)
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            fsync_all([Path(folder, name) for name in names] + [Path(folder)])
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.exists():
                raise
        fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def disk_errors_at(path: Path) -> Iterator[None]:
    """Have a full disk or a missing right name `path`, not the temporary file beside it or none."""
    try:
        yield
    except OSError as error:
        beside = str(path.parent / f"{TEMPORARY}{path.name}.")
        if error.errno in FULL | CLOSED and str(error.filename or beside).startswith(beside):
            error.filename = str(path)
        raise


def json_text(value: Any) -> str:
    """`value` as indented JSON with sorted keys."""
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def write_json(path: Path, value: Any, flush_folder: bool = True) -> None:
    """Write `value` as indented JSON with sorted keys, atomically (`atomic_open`)."""
    with disk_errors_at(Path(path)), atomic_open(path, "w", flush_folder) as stream:
        stream.write(json_text(value))


def read_json(path: Path) -> Any:
    """Read a JSON file (UTF-8)."""
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stable_hash(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sweep_temporary(folder: Path) -> None:
    """Remove from `folder` what writers left that died on this machine; others are let be."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        _, at, owner = entry.name.rpartition("@")
        host, _, pid = owner.rpartition(".")
        if not entry.name.startswith(TEMPORARY) or not at or host != socket.gethostname():
            continue
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
