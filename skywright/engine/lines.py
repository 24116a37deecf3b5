"""Lines of text files that are plain or packed by gzip or zstd, by their suffix."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from skywright.errors import UserError

PIECE_BYTES = 4_096
"""Of a packed file at a time: what stands before a damaged piece can still be read."""


def text_lines(path: Path) -> Iterator[str]:
    """The file's lines with their ends; they end at "\\n", "\\r" or both.

    Raises `UserError` for a missing file, and behind what could be read of one that is damaged, cut
    short, or not UTF-8.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; check the path")
    with open(path, "rb") as raw:
        data: Any = raw
        if path.suffix == ".gz":
            data = gzip.GzipFile(fileobj=raw)
        elif path.suffix == ".zst":
            data = io.BufferedReader(_Pieces(zstd_pieces(raw)))
        number = 0
        try:
            for line in io.TextIOWrapper(data, encoding="utf-8"):
                number += 1
                yield line
        except (UnicodeDecodeError, EOFError, OSError, zlib.error, zstandard.ZstdError) as error:
            raise UserError(
                f"{path}: cannot be read on after line {number} ({error}); "
                "give whole files of UTF-8 lines"
            ) from None


def zstd_pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What all frames of a zstd stream hold, piece by piece.

    Raises `zstandard.ZstdError` where one is damaged, and `EOFError` where the last is cut short:
    zstandard's own readers end there as if it were whole.
    """
    frame, packed = zstandard.ZstdDecompressor().decompressobj(), stream.read(PIECE_BYTES)
    while packed:
        yield frame.decompress(packed)
        packed = frame.unused_data or stream.read(PIECE_BYTES)
        if frame.eof and packed:
            frame = zstandard.ZstdDecompressor().decompressobj()
    if not frame.eof:
        raise EOFError("the file is cut short")


class _Pieces(io.RawIOBase):
    """A stream of bytes that come in pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        taken, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(taken)] = taken
        return len(taken)
