"""Objects far away, read forward by ranges: dropped connections are taken up where they broke.

One class for HTTP(S), over httpx, and for whatever fsspec opens (s3://, gs://, memory://). A
failure that passes (a connection, a time-out, status 429 or 5xx, a body that ends early) is tried
again with growing pauses; anything else, or the last failure, is a `UserError` that says where
reading stood. It is never taken for the end of the file.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from skywright.errors import UserError


@dataclass(frozen=True)
class Retry:
    """`attempts` failures in a row, without a byte between them, are given up; the pause before
    the next attempt doubles from `first_s` to `longest_s`. With these, a server may be away for
    two minutes.
    """

    attempts: int = 9
    first_s: float = 0.5
    longest_s: float = 30.0

    def pause_s(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.first_s * 2 ** (failures - 1), self.longest_s)


class PassingError(Exception):
    """A failure that may pass; `wait_s` is what the server asked for."""

    def __init__(self, message: str, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Stat:
    """What is known of an object without reading it. `tag` stands for its content: an ETag, or a
    date of change; empty where the server tells neither.
    """

    size: int
    tag: str


class Body(Protocol):
    """An open body, read from some offset on."""

    def read(self, size: int) -> bytes: ...

    def close(self) -> None: ...


class Transport(Protocol):
    """How an object is reached. Both methods raise `PassingError` or `UserError`."""

    def stat(self) -> Stat: ...

    def open(self, offset: int, stat: Stat) -> Body: ...


def patiently(url: str, retry: Retry, attempt: Callable[[], Any]) -> Any:
    """The result of `attempt`, tried again while its failures may pass."""
    failures = 0
    while True:
        try:
            return attempt()
        except PassingError as error:
            failures += 1
            _pause(url, retry, failures, error, "")


def _pause(url: str, retry: Retry, failures: int, error: PassingError, where: str) -> None:
    if failures >= retry.attempts:
        raise UserError(
            f"{url}: given up{where} after {failures} attempts ({error}); "
            "run again later: what is done is kept"
        ) from None
    time.sleep(max(retry.pause_s(failures), min(error.wait_s, 10 * retry.longest_s)))


class RemoteFile(io.RawIOBase):
    """A remote object as a file, for reading and seeking."""

    def __init__(self, url: str, transport: Transport, retry: Retry = Retry()) -> None:
        self._url, self._transport, self._retry = url, transport, retry
        self.stat: Stat = patiently(url, retry, transport.stat)
        self._at = 0
        self._body: Body | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, self.stat.size)[whence]
        if at != self._at:
            self._drop()
        self._at = at
        return at

    def read(self, size: int | None = -1) -> bytes:
        """`size` bytes, fewer only where the object ends."""
        wanted = max(self.stat.size - self._at, 0)
        if size is not None and size >= 0:
            wanted = min(wanted, size)
        parts, failures = [], 0
        while wanted:
            try:
                data = self._some(wanted)
            except PassingError as error:
                self._drop()
                failures += 1
                where = f" at byte {self._at} of {self.stat.size}"
                _pause(self._url, self._retry, failures, error, where)
                continue
            failures = 0
            parts.append(data)
            self._at += len(data)
            wanted -= len(data)
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _some(self, size: int) -> bytes:
        if self._body is None:
            self._body = self._transport.open(self._at, self.stat)
        data = self._body.read(size)
        if not data:
            raise PassingError("the body ended early")
        return data

    def _drop(self) -> None:
        if self._body is not None:
            with suppress(Exception):  # a broken connection may also break on closing
                self._body.close()
            self._body = None

    def close(self) -> None:
        self._drop()
        super().close()


# ---------------------------------------------------------------- fsspec


class FsspecTransport:
    """Whatever fsspec opens; settings and credentials come from its own files and variables."""

    def __init__(self, url: str) -> None:
        import fsspec

        self._url = url
        try:
            self._fs, self._path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UserError(f"{url}: cannot be opened ({error})") from None
        self.url: str = self._fs.unstrip_protocol(self._path)

    def stat(self) -> Stat:
        with _fsspec_errors(self._url):
            info = self._fs.info(self._path)
        tag = info.get("ETag") or info.get("etag") or info.get("md5Hash") or ""
        changed = info.get("LastModified") or info.get("updated") or info.get("mtime") or ""
        return Stat(int(info["size"]), str(tag or changed).strip('"'))

    def open(self, offset: int, stat: Stat) -> Body:
        with _fsspec_errors(self._url):
            now = self.stat() if offset else stat
            if now != stat:
                raise UserError(f"{self._url}: changed while it was read; run again")
            file = self._fs.open(self._path, "rb", block_size=2**22, cache_type="readahead")
            file.seek(offset)
        return _FsspecBody(self._url, file)

    def files(self) -> Iterator[str]:
        """The objects below this path, or those that it stands for as a pattern."""
        with _fsspec_errors(self._url):
            if any(mark in self._path for mark in "*?["):
                found = self._fs.glob(self._path)
            elif self._fs.isfile(self._path):
                found = [self._path]
            else:
                found = self._fs.find(self._path)
        for path in sorted(found):
            yield self._fs.unstrip_protocol(path)


class _FsspecBody:
    def __init__(self, url: str, file: Any) -> None:
        self._url, self._file = url, file

    def read(self, size: int) -> bytes:
        with _fsspec_errors(self._url):
            return bytes(self._file.read(size))

    def close(self) -> None:
        self._file.close()


class _fsspec_errors:  # noqa: N801 (used as a verb)
    """Errors of a file system as `PassingError`, or `UserError` where waiting does not help."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: Any) -> None:  # fmt: skip
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            what = str(error) or type(error).__name__
            raise UserError(f"{self._url}: cannot be read ({what}); check the path") from None
        if isinstance(error, OSError | TimeoutError):
            raise PassingError(f"{type(error).__name__}: {error}") from None
