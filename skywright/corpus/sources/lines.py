"""Lines of a file, packed or plain, of which none is held in memory above a limit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

from skywright.corpus.sources.frames import Damage, Packing, pieces
from skywright.corpus.sources.inputs import Input

_READ_BYTES = 1 << 16


class Unpacked(io.RawIOBase):
    """The unpacked bytes of all frames, one after the other; reading raises `FrameError`."""

    def __init__(self, source: Input, packing: Packing, start: int = 0) -> None:
        self._pieces = pieces(source, packing, start)
        self._held = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._held:
            piece = next(self._pieces, None)
            if isinstance(piece, Damage):
                raise piece.error
            self._held = memoryview(piece.data if piece else b"")
        size = min(len(buffer), len(self._held))
        buffer[:size] = self._held[:size]
        self._held = self._held[size:]
        return size


class Line(NamedTuple):
    """A line with its end; `data` is cut when the line is longer than the limit."""

    data: bytes
    size: int


def lines(
    source: Input, packing: Packing, max_bytes: int, start: int = 0, end: int | None = None
) -> Iterator[Line]:
    """The lines that begin in [`start`, `end`); raises `FrameError` at damage.

    A longer line than `max_bytes` is read through in pieces: only its size is of use.
    """
    at = start
    with io.BufferedReader(Unpacked(source, packing, start), _READ_BYTES) as file:
        while end is None or at < end:
            data = file.readline(max_bytes + 1)
            size = len(data)
            if size > max_bytes and not data.endswith(b"\n"):
                while rest := file.readline(_READ_BYTES):
                    size += len(rest)
                    if rest.endswith(b"\n"):
                        break
            if not size:
                return
            at += size
            yield Line(data, size)
