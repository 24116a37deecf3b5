"""Bytes of a file by their offset, wherever the file stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

BLOCK_BYTES = 1 << 18


class Input:
    """A file read by offset. One block is held, so that reading on costs no seek, and stepping
    back inside it costs nothing: a remote file is asked for every range once.
    """

    def __init__(self, file: IO[bytes], block_bytes: int = BLOCK_BYTES) -> None:
        self._file = file
        self._block_bytes = block_bytes
        self._base = 0
        self._block = b""

    def __enter__(self) -> Input:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def some(self, offset: int, size: int) -> bytes:
        """From one to `size` bytes at `offset`; none at the end of the file only."""
        at = offset - self._base
        if not 0 <= at < len(self._block):
            self._file.seek(offset)
            self._base, at = offset, 0
            self._block = self._file.read(max(self._block_bytes, size)) or b""
        return self._block[at : at + size]

    def exactly(self, offset: int, size: int) -> bytes:
        """`size` bytes at `offset`, fewer where the file ends."""
        parts = []
        while size > 0 and (part := self.some(offset, size)):
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def find(self, needle: bytes, start: int, end: int | None = None) -> Iterator[int]:
        """Offsets of `needle` from `start` on (before `end`), reading the file piece by piece."""
        base, held = start, b""
        while piece := self.some(base + len(held), self._block_bytes):
            held += piece
            at = held.find(needle)
            while at >= 0:
                if end is not None and base + at >= end:
                    return
                yield base + at
                at = held.find(needle, at + 1)
            done = max(len(held) - len(needle) + 1, 0)  # a needle may lie across two pieces
            base += done
            held = held[done:]
            if end is not None and base >= end:
                return

    def is_padding(self, start: int) -> bool:
        """Whether nothing but zero bytes and line ends follows from `start`."""
        while piece := self.some(start, self._block_bytes):
            if piece.strip(b"\0\r\n"):
                return False
            start += len(piece)
        return True


class Window(Input):
    """An input that ends at `end`."""

    def __init__(self, source: Input, end: int) -> None:
        self._source, self._end = source, end

    def some(self, offset: int, size: int) -> bytes:
        """As in the whole input, but nothing behind the end."""
        return (
            self._source.some(offset, min(size, self._end - offset)) if offset < self._end else b""
        )
