"""zstd and lz4 frames, which say block by block how long they are.

So a frame's end is found without unpacking it, and no block unpacks to more than its format
allows (zstd 128 KiB, lz4 4 MiB): the memory that a frame takes is bounded whatever it claims.
Sources of the layouts: RFC 8878 section 3.1 (zstd); lz4_Frame_format.md 1.6.4 of the lz4 project.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import zstandard
from fastwarc.stream_io import Lz4Reader

from skywright.corpus.panics import panics_as_errors
from skywright.corpus.sources.frames import (
    FREE_BYTES,
    MAX_WINDOW_BYTES,
    Frame,
    FrameError,
    Packing,
)
from skywright.corpus.sources.inputs import Input

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
_SKIPPABLE = b"\x2a\x4d\x18"  # behind a byte 0x50..0x5f: a frame of another's data, in both formats
_DICTIONARY = b"\x5d\x2a\x4d\x18"  # the skippable frame of a .warc.zst that holds its dictionary
_LZ4_BLOCK_BYTES = {4: 1 << 16, 5: 1 << 18, 6: 1 << 20, 7: 1 << 22}


def is_zstd(head: bytes) -> bool:
    """Whether a file that begins with `head` is zstd (perhaps behind a skippable frame)."""
    return head.startswith(ZSTD_MAGIC) or head[1:4] == _SKIPPABLE


class _Blocks(Frame):
    """A frame that is read block by block; `layout` yields the packed bytes of the next one."""

    def __init__(self, source: Input, offset: int) -> None:
        super().__init__(source, offset)
        self._layout: Iterator[bytes] | None = None

    @property
    def at(self) -> int:
        """Offset behind the last byte that was read."""
        return self._next

    def open(self) -> Iterator[bytes]:
        """The packed bytes of the frame, piece by piece."""
        magic = self._packed(4)
        if magic[1:] == _SKIPPABLE and magic[0] >> 4 == 5:
            (size,) = struct.unpack("<I", self._packed(4))
            self._next += size
            return
        yield from self._blocks(magic)

    def _blocks(self, magic: bytes) -> Iterator[bytes]:
        raise NotImplementedError


class Zstd(_Blocks):
    """A zstd frame."""

    def __init__(
        self, source: Input, offset: int, decoder: zstandard.ZstdDecompressor | None = None
    ) -> None:
        super().__init__(source, offset)
        self._decoder = (decoder or _zstd_decoder()).decompressobj()

    def _piece(self, size: int) -> bytes:
        self._layout = self._layout or self.open()
        block = next(self._layout, None)
        if block is None:
            self.end = self._next
            return b""
        try:
            return bytes(self._decoder.decompress(block))
        except zstandard.ZstdError as error:
            raise FrameError(f"damaged zstd frame: {error}") from None

    def _blocks(self, magic: bytes) -> Iterator[bytes]:
        if magic != ZSTD_MAGIC:
            raise FrameError("no zstd frame begins here")
        descriptor = self._packed(1)[0]
        single = descriptor >> 5 & 1
        content = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
        rest = self._packed((1 - single) + (0, 1, 2, 4)[descriptor & 3] + content)
        yield magic + bytes((descriptor,)) + rest
        last = 0
        while not last:
            head = self._packed(3)
            value = int.from_bytes(head, "little")
            last, kind, size = value & 1, value >> 1 & 3, value >> 3
            if kind == 3 or size > 1 << 17:
                raise FrameError("damaged zstd frame: a block of no kind or beyond 128 KiB")
            yield head + self._packed(1 if kind == 1 else size)
        if descriptor >> 2 & 1:
            yield self._packed(4)


class _Pulled:
    """Blocks as a file that can only be read, for a decoder that wants to pull them."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._held = b""
        self._at = 0
        self.error: FrameError | None = None

    def tell(self) -> int:
        """How many bytes have been handed out."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """From one to `size` bytes; none at the end, or at an `error`."""
        try:
            while not self._held:
                self._held = next(self._blocks)
        except StopIteration:
            return b""
        except FrameError as error:  # would lose its type on the way through the decoder
            self.error = error
            return b""
        data, self._held = self._held[:size], self._held[size:]
        self._at += len(data)
        return data


class Lz4(Frame):
    """An lz4 frame, unpacked by fastwarc's lz4.

    (Arrow's doubles its output buffer for as long as a damaged block gives nothing: 6 GB were
    measured on a frame of 400 bytes.)
    """

    def __init__(self, source: Input, offset: int) -> None:
        super().__init__(source, offset)
        # Walk, blocks and decoder know nothing of this frame: a circle through the decoder,
        # which Python's collector cannot see into, would never be freed.
        self._walk = _Lz4Walk(source, offset)
        self._pulled = _Pulled(self._walk.open())
        self._stream: Any = None

    def _piece(self, size: int) -> bytes:
        try:
            with panics_as_errors():
                self._stream = self._stream or Lz4Reader(cast(Any, self._pulled))
                result = bytes(self._stream.read(size))
        except (OSError, ValueError) as error:
            self._stream = None  # an error's traceback would close the circle
            raise self._pulled.error or FrameError(f"damaged lz4 frame: {error}") from None
        self._next = self._walk.at
        if not result:
            self._stream = None
            if self._pulled.error:
                raise self._pulled.error
            self.end = self._next
        return result


class _Lz4Walk(_Blocks):
    """The blocks of an lz4 frame."""

    def _blocks(self, magic: bytes) -> Iterator[bytes]:
        if magic != LZ4_MAGIC:
            raise FrameError("no lz4 frame begins here")
        flags, sizes = self._packed(2)
        largest = _LZ4_BLOCK_BYTES.get(sizes >> 4 & 7)
        if flags >> 6 != 1 or largest is None:
            raise FrameError("damaged lz4 frame: no such version or block size")
        rest = self._packed((8 if flags >> 3 & 1 else 0) + (4 if flags & 1 else 0) + 1)
        yield magic + bytes((flags, sizes)) + rest
        while True:
            head = self._packed(4)
            size = int.from_bytes(head, "little") & 0x7FFF_FFFF
            if size > largest:
                raise FrameError("damaged lz4 frame: a block beyond the frame's block size")
            if not size:
                yield head + self._packed(4 if flags >> 2 & 1 else 0)
                return
            yield head + self._packed(size + (4 if flags >> 4 & 1 else 0))


LZ4 = Packing("lz4", LZ4_MAGIC, Lz4, probe_bytes=5 << 20)  # a block has up to 4 MiB


def _zstd_decoder(dictionary: bytes = b"") -> zstandard.ZstdDecompressor:
    found = zstandard.ZstdCompressionDict(dictionary) if dictionary else None
    return zstandard.ZstdDecompressor(dict_data=found, max_window_size=MAX_WINDOW_BYTES)


def zstd_packing(source: Input) -> Packing:
    """zstd with the dictionary that a `.warc.zst` file may carry in its first frame.

    (Layout: "The WARC Zstandard Compression" of the IIPC; the dictionary may itself be packed.)
    """
    dictionary = b""
    if source.exactly(0, 4) == _DICTIONARY:
        (size,) = struct.unpack("<I", source.exactly(4, 4).ljust(4, b"\0"))
        dictionary = source.exactly(8, min(size, FREE_BYTES))
        if dictionary.startswith(ZSTD_MAGIC):
            dictionary = _unpacked(dictionary)
    return Packing("zstd", ZSTD_MAGIC, partial(Zstd, decoder=_zstd_decoder(dictionary)))


def _unpacked(data: bytes) -> bytes:
    frame = Zstd(Input(io.BytesIO(data)), 0)
    return b"".join(iter(partial(frame.read, 1 << 16), b""))
