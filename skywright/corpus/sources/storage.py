"""Where inputs stand: on this machine, on a web server, or in anything that fsspec opens."""

from __future__ import annotations

import glob
import gzip
import hashlib
import os
from pathlib import Path
from typing import IO, cast

from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.remote import (
    FsspecTransport,
    RemoteFile,
    Retry,
    Stat,
    Transport,
)
from skywright.corpus.sources.web import WebTransport
from skywright.engine.files import TEMPORARY, sha256_file
from skywright.errors import UserError

_BLOCK_BYTES = 1 << 20  # of a remote file: a step back beyond it costs a request
_MAX_LIST_BYTES = 2**28  # Common Crawl's lists of paths have 90,000 lines of 140 bytes


def is_remote(path: str) -> bool:
    """Whether a path names a protocol (`https://`, `s3://`, `memory://`)."""
    return "://" in path


def open_file(path: str, retry: Retry = Retry()) -> IO[bytes]:  # noqa: B008 (frozen)
    """The file at a path; raises UserError when it cannot be read."""
    if is_remote(path):
        return cast(IO[bytes], RemoteFile(path, _transport(path), retry))
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def open_input(path: str) -> Input:
    """The bytes of the file at a path."""
    return Input(open_file(path), _BLOCK_BYTES) if is_remote(path) else Input(open_file(path))


def _transport(path: str) -> Transport:
    if path.startswith(("http://", "https://")):
        return WebTransport(path)
    return FsspecTransport(path)


def identity(path: str) -> tuple[str, int]:
    """What the content of a file is known by, as 64 hex digits, and its size in bytes.

    A local file: its SHA-256. A remote one: the SHA-256 of address, size and ETag (or, without
    one, date of change), which the store changes whenever the content changes; where the store
    tells neither, the file is read for its own SHA-256.
    """
    if not is_remote(path):
        return sha256_file(Path(path)), os.path.getsize(path)
    with open_file(path) as file:
        stat: Stat = cast(RemoteFile, file).stat
        if stat.tag and not path.startswith("memory://"):
            told = f"{path}\n{stat.size}\n{stat.tag}"
            return hashlib.sha256(told.encode()).hexdigest(), stat.size
        digest = hashlib.sha256()
        while piece := file.read(_BLOCK_BYTES):
            digest.update(piece)
        return digest.hexdigest(), stat.size


def found(path: str, source: str) -> tuple[str, list[str]]:
    """The folder that names are relative to, and the files that a path means, in order.

    A path is a file, a folder or a pattern. Hidden files and what writers left are passed over.
    """
    if path.startswith(("http://", "https://")):
        return path.rpartition("/")[0], [path]
    if is_remote(path):
        base, files = _remote(path)
    else:
        base, files = _local(path, source)
    names = sorted(set(files))
    return base, [n for n in names if not n.rpartition("/")[2].startswith((".", TEMPORARY))]


def _remote(path: str) -> tuple[str, list[str]]:
    transport = FsspecTransport(path)
    files = list(transport.files())
    path = transport.url.rstrip("/")  # as the file system writes it, which is how files are named
    if glob.has_magic(path):
        fixed = path[: min(path.index(mark) for mark in "*?[" if mark in path)]
        return fixed.rpartition("/")[0], files
    return (path.rpartition("/")[0] if files == [path] else path), files


def _local(path: str, source: str) -> tuple[str, list[str]]:
    if os.path.isdir(path):
        inside = [str(p) for p in Path(path).rglob("*") if p.is_file()]
        return str(Path(path)), inside
    if os.path.isfile(path):
        return str(Path(path).parent), [path]
    if glob.has_magic(path):
        parts = Path(path).parts
        fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
        files = [p for p in glob.glob(path, recursive=True) if os.path.isfile(p)]
        return str(Path(*parts[:fixed])), files
    raise UserError(f"{path}: no such file or folder (input {source!r}); check `path`")


def listed(path: str, prefix: str) -> tuple[str, list[str]]:
    """The files that a list (one path a line, `#` for comments, perhaps gzip) names behind
    `prefix`, in the order of the list.
    """
    with open_file(path) as file:
        data = file.read(_MAX_LIST_BYTES)
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise UserError(f"{path}: a damaged list of paths ({error}); get it again") from None
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{path}: the list of paths is empty; get it again")
    return prefix.rstrip("/"), [f"{prefix.rstrip('/')}/{name.lstrip('/')}" for name in names]
