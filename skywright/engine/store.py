"""Where the outputs of tasks stand: a folder of this machine, a shared folder, an object store.

An output is a folder of files under a name that says what made it. It counts once its done record
stands in it, and the first done record is the one that counts, so that two attempts at once are
safe. In a folder the record is renamed into place with the files. An object store knows no rename:
there the files go under a key of the attempt's own, and the record, which names them, is put on the
condition that none is there yet (`If-None-Match: *` on S3).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import fsspec

from skywright.engine.files import (
    TEMPORARY,
    atomic_folder,
    json_text,
    read_json,
    sweep_temporary,
    write_json,
)
from skywright.errors import UserError

DONE = "done.json"
LOCK = ".lock"
COPIED_BYTES = 8 << 20  # at a time
CONFLICT_WAITS_S = (0.1, 0.5, 2.0, 8.0)
Make = Callable[[Path], dict[str, Any]]
"""Writes the files of an output into a folder and returns its done record; the record's
`outputs` names the files: `{table: {"file": ..., ...}}`."""


class Store(Protocol):
    """Finished outputs and small JSON notes under one root; names use "/"."""

    root: str

    def publish(self, name: str, make: Make) -> dict[str, Any]:
        """Make an output and return the done record that counts: ours, or an earlier one."""
        ...

    def record(self, name: str) -> dict[str, Any] | None:
        """The done record of an output, None while there is none."""
        ...

    def records(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The done records of those outputs that are finished."""
        ...

    def place(self, name: str) -> str:
        """Path or address of what stands under a name."""
        ...

    def read_note(self, name: str) -> Any:
        """A JSON note, None if there is none."""
        ...

    def write_note(self, name: str, value: Any) -> None:
        """Put a JSON note in the place of an earlier one, whole or not at all."""
        ...

    def sweep(self, name: str) -> None:
        """Remove from a folder what writers left behind that are dead for certain."""
        ...

    def held(self, alone: bool = False) -> AbstractContextManager[None]:
        """Be at work here, with others or `alone`; UserError where that cannot be."""
        ...

    def files(self) -> Iterator[tuple[str, int]]:
        """Names and sizes in bytes of all files."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove files, done records first, so that no half of an output counts."""
        ...


def is_remote(path: str | Path) -> bool:
    """Whether this is an address that fsspec knows rather than a path of this machine."""
    return "://" in str(path)


@lru_cache(maxsize=16)
def open_store(root: str) -> Store:
    """The store at a path or at an fsspec address (`s3://bucket/prefix`, `memory://name`)."""
    return ObjectStore(root) if is_remote(root) else Folder(root)


def fetch(path: str, folder: Path) -> str:
    """A path of this machine for `path`; what stands on an object store is copied to `folder`."""
    if not is_remote(path):
        return path
    target = folder / f"{uuid.uuid4().hex}-{path.rpartition('/')[2]}"
    try:
        with fsspec.open(path, "rb") as source, open(target, "wb") as copy:
            shutil.copyfileobj(source, copy, COPIED_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error}); check the object store") from None
    return str(target)


def fetch_range(path: str, start: int, length: int, folder: Path) -> tuple[str, int]:
    """Some bytes of a file as (path, offset) of this machine: a copy, or the file itself."""
    if not is_remote(path):
        return path, start
    files, inside = fsspec.core.url_to_fs(path)
    target = folder / uuid.uuid4().hex
    target.write_bytes(files.cat_file(inside, start=start, end=start + length))
    return str(target), 0


class Folder:
    """A store in a folder of this machine or of a file server."""

    def __init__(self, root: str) -> None:
        self.root = str(root)

    def place(self, name: str) -> str:
        return os.path.join(self.root, *name.split("/"))

    def publish(self, name: str, make: Make) -> dict[str, Any]:
        with atomic_folder(Path(self.place(name))) as folder:
            (folder / DONE).write_text(json_text(make(folder)), encoding="utf-8")
        record = self.record(name)
        if record is None:
            raise UserError(f"{self.place(name)}: stands without {DONE}; remove that folder")
        return record

    def record(self, name: str) -> dict[str, Any] | None:
        return self.read_note(f"{name}/{DONE}")

    def records(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {name: found for name in names if (found := self.record(name)) is not None}

    def read_note(self, name: str) -> Any:
        try:
            return read_json(Path(self.place(name)))
        except FileNotFoundError:
            return None

    def write_note(self, name: str, value: Any) -> None:
        # After a power cut an earlier note does as well: it is written again when work goes on.
        write_json(Path(self.place(name)), value, flush_folder=False)

    def sweep(self, name: str) -> None:
        sweep_temporary(Path(self.place(name)))

    @contextmanager
    def held(self, alone: bool = False) -> Iterator[None]:
        os.makedirs(self.root, exist_ok=True)
        with open(self.place(LOCK), "a") as stream:
            try:
                fcntl.flock(stream, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{self.root}: a build or a clean-up is at work there; wait until it is done"
                ) from None
            except OSError:
                if alone:
                    raise UserError(
                        f"{self.root}: the file server knows no locks, so nobody can tell whether "
                        "a build is at work there; run this on the server itself"
                    ) from None
            yield

    def files(self) -> Iterator[tuple[str, int]]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.join(folder, name)
                if path == self.place(LOCK):
                    continue
                try:
                    size = os.stat(path).st_size
                except FileNotFoundError:
                    continue  # a temporary name that has become the file's own meanwhile
                yield os.path.relpath(path, self.root).replace(os.sep, "/"), size

    def remove(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda name: not name.endswith(f"/{DONE}")):
            path = Path(self.place(name))
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


class ObjectStore:
    """A store at an fsspec address. The conditional put is tested on S3 and `memory://`."""

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")
        try:
            self._files, inside = fsspec.core.url_to_fs(self.root, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise UserError(f"{root}: cannot be reached ({error})") from None
        self._inside = inside.rstrip("/")

    @property
    def shared(self) -> bool:
        """Whether other processes see it: `memory://` is one process's own."""
        return "memory" not in self._protocols()

    def _protocols(self) -> tuple[str, ...]:
        protocol = self._files.protocol
        return (protocol,) if isinstance(protocol, str) else tuple(protocol)

    def check(self) -> None:
        """See that a put on condition is refused where something stands already.

        Raises UserError where the store takes it: there a slow writer could overwrite what
        another one has finished.
        """
        name = f"{self._inside}/{TEMPORARY}check-{uuid.uuid4().hex}"
        try:
            self._put_new(name, b"first")
            overwritten = self._put_new(name, b"second")
            self._files.rm_file(name)
        except OSError as error:
            raise UserError(f"{self.root}: cannot be written to ({error})") from None
        if overwritten:
            raise UserError(
                f"{self.root}: this store ignores If-None-Match, so that two workers could "
                "overwrite each other; use a store that honours it, or a shared folder"
            )

    def _put_new(self, path: str, body: bytes) -> bool:
        """Put an object unless one stands there; whether it was put."""
        for wait_s in CONFLICT_WAITS_S:
            try:
                self._files.pipe_file(path, body, mode="create")
                return True
            except FileExistsError:
                return False
            except OSError as error:
                # Servers differ in how much they say; S3 answers 409 to two puts at one moment.
                if "PreconditionFailed" in str(error):
                    return False
                if "ConditionalRequestConflict" not in str(error):
                    raise
            time.sleep(wait_s)
        raise OSError(f"{path}: other writers kept on being there at the same moment")

    def place(self, name: str) -> str:
        return f"{self.root}/{name}"

    def publish(self, name: str, make: Make) -> dict[str, Any]:
        attempt = uuid.uuid4().hex
        with tempfile.TemporaryDirectory(prefix="skywright-") as scratch:
            record = make(Path(scratch))
            for output in record["outputs"].values():
                written = Path(scratch) / output["file"]
                output["file"] = f"{attempt}/{output['file']}"
                self._files.put_file(str(written), f"{self._inside}/{name}/{output['file']}")
        body = json.dumps(record, ensure_ascii=False, sort_keys=True).encode()
        if not self._put_new(f"{self._inside}/{name}/{DONE}", body):
            for output in record["outputs"].values():
                self._files.rm_file(f"{self._inside}/{name}/{output['file']}")
        counted = self.record(name)
        if counted is None:
            raise UserError(f"{self.place(name)}: its {DONE} was removed at once; run again")
        return counted

    def record(self, name: str) -> dict[str, Any] | None:
        return self.read_note(f"{name}/{DONE}")

    def records(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        paths = {f"{self._inside}/{name}/{DONE}": name for name in names}
        found: dict[str, bytes] = {}
        if paths:
            found = self._files.cat(list(paths), on_error="omit")
        bare = {self._files._strip_protocol(path): name for path, name in paths.items()}
        return {
            bare[self._files._strip_protocol(path)]: json.loads(body)
            for path, body in found.items()
        }

    def read_note(self, name: str) -> Any:
        try:
            return json.loads(self._files.cat_file(f"{self._inside}/{name}"))
        except FileNotFoundError:
            return None

    def write_note(self, name: str, value: Any) -> None:
        body = json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True).encode()
        self._files.pipe_file(f"{self._inside}/{name}", body)

    def sweep(self, name: str) -> None:
        """Nothing: no attempt is known to be dead. `garbage` finds what no record names."""

    def held(self, alone: bool = False) -> AbstractContextManager[None]:
        """Nothing: an object store has no locks."""
        return nullcontext()

    def files(self) -> Iterator[tuple[str, int]]:
        base = self._files._strip_protocol(self._inside).rstrip("/") + "/"
        for path, found in self._files.find(self._inside, detail=True).items():
            yield self._files._strip_protocol(path).removeprefix(base), int(found["size"])

    def remove(self, names: Sequence[str]) -> None:
        for name in sorted(names, key=lambda name: not name.endswith(f"/{DONE}")):
            self._files.rm_file(f"{self._inside}/{name}")
