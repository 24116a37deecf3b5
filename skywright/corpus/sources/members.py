"""gzip files as a row of members, each of which may be damaged without harm to the others.

A `.warc.gz` file holds one gzip member a record. Python's and fastwarc's readers stop at the first
damaged byte; here a damaged member is reported, and reading goes on at the next member.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import IO

MAGIC = b"\x1f\x8b\x08"
_WINDOW = 31  # zlib's number for "gzip header and trailer, checksum verified"
_READ_BYTES = 1 << 16
_PROBE_BYTES = 1 << 12


class BrokenOffError(EOFError):
    """The file ends inside a member."""


class MemberStream(io.RawIOBase):
    """The unpacked bytes of the one gzip member that starts at `offset` of `file`.

    `read` raises `zlib.error` on damage (the checksum at the end is verified) and
    `BrokenOffError` when the file ends too early. After the last byte, `end` is the offset
    behind the member.
    """

    def __init__(self, file: IO[bytes], offset: int) -> None:
        self._file = file
        self._decoder = zlib.decompressobj(_WINDOW)
        self._input_at = offset
        self._at = 0
        self.end: int | None = None

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(_READ_BYTES), b""))
        while size and self.end is None:
            data = self._decoder.unconsumed_tail
            if not data:
                self._file.seek(self._input_at)
                data = self._file.read(_READ_BYTES)
                self._input_at += len(data)
                if not data:
                    raise BrokenOffError("the file ends inside a gzip member")
            result = self._decoder.decompress(data, size)
            if self._decoder.eof:
                self.end = self._input_at - len(self._decoder.unused_data)
            if result:
                self._at += len(result)
                return result
        return b""

    def drain(self) -> int:
        """Read to the member's end, so that its checksum is verified; return the offset behind."""
        while self.end is None:
            self.read(_READ_BYTES)
        return self.end


def first_bytes(file: IO[bytes], at: int) -> bytes:
    """What the start of a damaged member unpacks to, as far as it does (up to some KiB)."""
    file.seek(at)
    packed, decoder, found = file.read(_PROBE_BYTES), zlib.decompressobj(_WINDOW), bytearray()
    try:
        for byte in packed:
            found += decoder.decompress(bytes((byte,)))
    except zlib.error:
        pass
    return bytes(found)


def next_member(file: IO[bytes], start: int, prefix: bytes) -> int | None:
    """Offset of the first member at or after `start` that unpacks to `prefix`..., or None.

    The magic bytes alone occur by chance in packed data; the unpacked prefix does not.
    """
    for at in _find(file, start, MAGIC):
        file.seek(at)
        try:
            head = zlib.decompressobj(_WINDOW).decompress(file.read(_PROBE_BYTES), len(prefix))
        except zlib.error:
            continue
        if head == prefix:
            return at
    return None


def _find(file: IO[bytes], start: int, needle: bytes) -> Iterator[int]:
    """Offsets of `needle` at or after `start`, reading the file piece by piece."""
    base, held = start, b""
    while True:
        file.seek(base + len(held))
        piece = file.read(_READ_BYTES)
        if not piece:
            return
        held += piece
        at = held.find(needle)
        while at >= 0:
            yield base + at
            at = held.find(needle, at + 1)
        done = max(len(held) - len(needle) + 1, 0)  # a needle may lie across two pieces
        base += done
        held = held[done:]


def next_text(file: IO[bytes], start: int, needle: bytes) -> int | None:
    """Offset of the first `needle` at or after `start` of a plain file, or None."""
    return next(_find(file, start, needle), None)


def is_zeros(file: IO[bytes], start: int) -> bool:
    """Whether nothing but zero bytes (padding) follows from `start`."""
    file.seek(start)
    return all(not piece.strip(b"\0") for piece in iter(lambda: file.read(_READ_BYTES), b""))
