"""Checksums of input files, remembered: a crawl of a terabyte is not read again to be named.

A file is known by its absolute path, inode, size and time of change (in nanoseconds). Where any of
them differs it is read again, and a file that was changed in the last seconds is not remembered,
because the next change may leave the same time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from skywright.engine.files import read_json, sha256_file, write_json

YOUNG_S = 2.0  # a disk's clock may be coarser than its numbers look


def _folder() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "skywright" / "checksums"


def input_sha256(path: Path) -> str:
    """Hex SHA-256 of an input file, from memory where the file has not changed since."""
    path = Path(path).absolute()
    state = _state(path)
    name = hashlib.sha256(str(path).encode()).hexdigest()
    note = _folder() / name[:2] / f"{name[2:34]}.json"
    try:
        known = read_json(note)
        if known["state"] == state:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError):
        pass  # never seen, or the note is damaged: read the file
    found = sha256_file(path)
    if _state(path) == state and time.time() - state[2] / 1e9 > YOUNG_S:
        with contextlib.suppress(OSError):  # no cache here: the file is read again next time
            write_json(note, {"path": str(path), "state": state, "sha256": found})
    return found


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]
