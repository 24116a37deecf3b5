"""The precise tier: trafilatura, in a process of its own that is watched and replaced.

trafilatura's memory grows with the pages it has seen and some pages hang it, so that its process is
ended after `pages_a_worker` pages, and whenever a page takes longer than the guard allows. What a
clock decided is not repeatable: the verdict stands in the stage's output and in the ledger, and a
rerun reads it from there.
"""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType

from skywright.errors import UserError

_HEADER = struct.Struct("<q")  # bytes that follow; -1: no text was found
_START_S = 120.0  # an import on a busy machine


class TimedOutError(Exception):
    """A page took longer than the guard allows."""


def trafilatura_version() -> str:
    """The installed version. Raises `UserError` when the extra is not installed."""
    try:
        return version("trafilatura")
    except PackageNotFoundError:
        raise UserError(
            "corpus.extraction.tier: 'precise' needs trafilatura, which is not installed; "
            "pip install 'skywright[precise]', or choose the tier own or fast"
        ) from None


@cache
def worker(timeout_s: float, pages_a_worker: int) -> PreciseWorker:
    """This process's worker with these settings. It ends with the process: its input closes."""
    return PreciseWorker(timeout_s, pages_a_worker)


class PreciseWorker:
    """One trafilatura process. Pages go in and texts come out over pipes."""

    def __init__(self, timeout_s: float, pages_a_worker: int) -> None:
        trafilatura_version()
        self._timeout_s = timeout_s
        self._pages_a_worker = pages_a_worker
        self._process: subprocess.Popen[bytes] | None = None
        self._left = 0

    def text(self, page: str) -> str:
        """Main content of a page, empty if there is none. Raises `TimedOutError`."""
        if self._process is None or self._left == 0:
            self.close()
            self._process = self._started()
            self._left = self._pages_a_worker
        self._left -= 1
        process = self._process
        assert process.stdin is not None
        data = page.encode("utf-8", "replace")
        try:
            process.stdin.write(_HEADER.pack(len(data)) + data)
            process.stdin.flush()
            return self._answer(self._timeout_s)
        except TimedOutError:
            self.close()
            raise
        except (BrokenPipeError, EOFError):
            self.close()
            raise RuntimeError("trafilatura's process ended on this page") from None

    def close(self) -> None:
        """End the process, if one runs."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def __enter__(self) -> PreciseWorker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "skywright.corpus.extract.precise"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
        )  # fmt: skip
        self._process = process
        self._answer(_START_S)  # it says when it is ready, so that imports are not timed
        return process

    def _answer(self, seconds: float) -> str:
        size = _HEADER.unpack(self._read(_HEADER.size, seconds))[0]
        return self._read(size, seconds).decode() if size > 0 else ""

    def _read(self, size: int, seconds: float) -> bytes:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        parts = b""
        while len(parts) < size:
            if not select.select([process.stdout], [], [], seconds)[0]:
                raise TimedOutError
            part = os.read(process.stdout.fileno(), size - len(parts))
            if not part:
                raise EOFError
            parts += part
        return parts


def _serve() -> None:
    """The process: read pages from standard input, write texts to standard output."""
    import trafilatura

    read, write = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get between the texts
    write.write(_HEADER.pack(0))
    while header := read.read(_HEADER.size):
        page = read.read(_HEADER.unpack(header)[0]).decode()
        text = trafilatura.extract(page, fast=True, include_comments=False) or ""
        data = text.encode("utf-8", "replace")
        write.write(_HEADER.pack(len(data)) + data)


if __name__ == "__main__":
    _serve()
