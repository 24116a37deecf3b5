"""Packed files as a row of frames, each of which may be damaged without harm to the others.

A `.warc.gz` file holds one gzip member a record; zstd, lz4, bzip2 and xz call the same thing a
frame or a stream. The usual readers stop at the first damaged byte, take a cut zstd file for a
whole one, and unpack whatever a file unpacks to. Here a frame is read in pieces, its checksum is
verified, its end is known, and what unpacks beyond all measure is refused.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from skywright.corpus.sources.inputs import Input, Window

PIECE_BYTES = 1 << 16

FREE_BYTES = 64 * 2**20
MAX_RATIO = 100
"""A frame may unpack to `FREE_BYTES` and `MAX_RATIO` times what it is packed. Text packs 3 to 20
times (measured on the WARC, JSONL and XML files of the tests: 2.4 to 8.1); a gzip bomb reaches
1,032 times, zstd and bzip2 over 10,000."""

MAX_WINDOW_BYTES = 128 * 2**20
"""Memory that a zstd or xz stream may ask for: what `zstd -d` grants (2^27), twice `xz -9`."""


class FrameError(ValueError):
    """A frame cannot be read; `rule` is what the ledger will say."""

    rule: ClassVar[str] = "corrupt"


class BrokenOffError(FrameError):
    """The file ends inside a frame."""

    rule: ClassVar[str] = "truncated"


class BombError(FrameError):
    """A frame unpacks beyond all measure."""

    rule: ClassVar[str] = "bomb"


class Frame:
    """The unpacked bytes of the one frame that starts at `offset`.

    `read` raises `FrameError`. After the last byte, `end` is the offset behind the frame: its
    checksum, where the format has one, was right.
    """

    def __init__(self, source: Input, offset: int) -> None:
        self.offset = offset
        self.end: int | None = None
        self._source = source
        self._next = offset  # of the packed bytes
        self._unpacked = 0

    @property
    def packed_bytes(self) -> int:
        """How many packed bytes have been read so far (or a piece more)."""
        return self._next - self.offset

    def read(self, size: int) -> bytes:
        """From one to about `size` bytes; none at the end of the frame only."""
        while self.end is None:
            if result := self.step(size):
                return result
        return b""

    def step(self, size: int) -> bytes:
        """A piece of the work: as `read`, but perhaps nothing yet."""
        result = self._piece(size)
        self._unpacked += len(result)
        if self._unpacked > FREE_BYTES + MAX_RATIO * self.packed_bytes:
            raise BombError(f"unpacks to more than {MAX_RATIO} times its size")
        return result

    def drain(self) -> int:
        """Read to the frame's end, so that its checksum is verified; return the offset behind."""
        while self.read(PIECE_BYTES):
            pass
        assert self.end is not None
        return self.end

    def _piece(self, size: int) -> bytes:
        raise NotImplementedError

    def _packed(self, size: int) -> bytes:
        """The next packed bytes, exactly `size` of them."""
        data = self._source.exactly(self._next, size)
        self._next += len(data)
        if len(data) < size:
            raise BrokenOffError("the file ends inside a frame")
        return data


class Plain(Frame):
    """Bytes that are not packed: one frame to the end of the file."""

    def _piece(self, size: int) -> bytes:
        data = self._source.some(self._next, size)
        self._next += len(data)
        if not data:
            self.end = self._next
        return data


class Gzip(Frame):
    """A gzip member."""

    def __init__(self, source: Input, offset: int) -> None:
        super().__init__(source, offset)
        self._decoder = zlib.decompressobj(31)  # gzip header and trailer, checksum verified

    def _piece(self, size: int) -> bytes:
        data = self._decoder.unconsumed_tail
        if not data:
            data = self._source.some(self._next, PIECE_BYTES)
            self._next += len(data)
            if not data:
                raise BrokenOffError("the file ends inside a gzip member")
        try:
            result = self._decoder.decompress(data, size)
        except zlib.error as error:
            raise FrameError(f"damaged gzip member: {error}") from None
        if self._decoder.eof:
            self.end = self._next - len(self._decoder.unused_data)
        return result


class Stream(Frame):
    """A bzip2 or xz stream: both decoders of the standard library have one interface."""

    def __init__(self, source: Input, offset: int, name: str, decoder: Callable[[], Any]) -> None:
        super().__init__(source, offset)
        self._name, self._decoder = name, decoder()

    def _piece(self, size: int) -> bytes:
        data = b""
        if self._decoder.needs_input:
            data = self._source.some(self._next, PIECE_BYTES)
            self._next += len(data)
            if not data:
                raise BrokenOffError(f"the file ends inside a {self._name} stream")
        try:
            result = self._decoder.decompress(data, size)
        except (OSError, lzma.LZMAError, ValueError, MemoryError) as error:
            raise FrameError(f"damaged {self._name} stream: {error}") from None
        if self._decoder.eof:
            self.end = self._next - len(self._decoder.unused_data)
        return bytes(result)


@dataclass(frozen=True)
class Packing:
    """How a file is packed: the bytes that a frame begins with, and what opens one.

    `probe_bytes` of a frame give at least its first byte, or it is none.
    """

    name: str
    magic: bytes
    open: Callable[[Input, int], Frame]
    probe_bytes: int = 1 << 18  # beyond the longest block of zstd


PLAIN = Packing("plain", b"", Plain)
GZIP = Packing("gzip", b"\x1f\x8b\x08", Gzip, probe_bytes=1 << 12)
BZIP2 = Packing(
    "bzip2", b"BZh", partial(Stream, name="bzip2", decoder=bz2.BZ2Decompressor),
    probe_bytes=1 << 20,  # a block is up to 900 kB long and gives nothing before its end
)  # fmt: skip
XZ = Packing(
    "xz", b"\xfd7zXZ\0",
    partial(Stream, name="xz", decoder=partial(
        lzma.LZMADecompressor, lzma.FORMAT_XZ, MAX_WINDOW_BYTES
    )),
)  # fmt: skip


def packing_of(source: Input, name: str) -> Packing:
    """How a file is packed, by its first bytes, or by its name when these are damaged."""
    from skywright.corpus.sources import blocks

    head = source.exactly(0, 6)
    by_magic = {packing.magic: packing for packing in (GZIP, BZIP2, XZ, blocks.LZ4)}
    for magic, packing in by_magic.items():
        if head.startswith(magic):
            return packing
    if blocks.is_zstd(head) or name.endswith(".zst"):
        return blocks.zstd_packing(source)
    ends = {".gz": GZIP, ".bz2": BZIP2, ".xz": XZ, ".lz4": blocks.LZ4}
    return next((packing for end, packing in ends.items() if name.endswith(end)), PLAIN)


# ---------------------------------------------------------------- rows of frames


def next_frame(source: Input, packing: Packing, start: int, prefix: bytes = b"") -> int | None:
    """Offset of the first frame at or after `start` that unpacks to `prefix`..., or None.

    The magic bytes alone occur by chance in packed data; what unpacks does not.
    """
    for at in source.find(packing.magic, start):
        try:
            window = Window(source, at + packing.probe_bytes)
            if begins_with(packing.open(window, at), prefix):
                return at
        except FrameError:
            continue
    return None


def begins_with(frame: Frame, prefix: bytes) -> bool:
    """Whether a frame begins with `prefix`, or with anything at all when that is empty."""
    head, wanted = b"", max(len(prefix), 1)
    while len(head) < wanted and frame.end is None:
        head += frame.step(wanted - len(head))
    return head.startswith(prefix) and (frame.end is not None or bool(head))


@dataclass(frozen=True)
class Piece:
    """Unpacked bytes, `at` bytes behind the start of the frame at `frame`."""

    frame: int
    at: int
    data: bytes


@dataclass(frozen=True)
class Damage:
    """A frame that could not be read (to its end); what follows comes from `resumed`, if any."""

    frame: int
    error: FrameError
    resumed: int | None


def pieces(
    source: Input, packing: Packing, start: int = 0, size: int = PIECE_BYTES
) -> Iterator[Piece | Damage]:
    """The unpacked bytes of a file, frame after frame, reading on behind a damaged one."""
    at: int | None = start
    while at is not None and source.some(at, 1):
        frame, begun, done = packing.open(source, at), at, 0
        try:
            while data := frame.read(size):
                yield Piece(begun, done, data)
                done += len(data)
            at = frame.end
        except FrameError as error:
            if not done and begun > 0 and source.is_padding(begun):
                return
            at = None if packing is PLAIN else next_frame(source, packing, begun + 1)
            yield Damage(begun, error, at)


def salvaged(source: Input, at: int) -> bytes:
    """What the start of a damaged gzip member unpacks to, as far as it does (up to some KiB)."""
    decoder, found = zlib.decompressobj(31), bytearray()
    try:
        for byte in source.exactly(at, 1 << 12):
            found += decoder.decompress(bytes((byte,)), 1 << 14)
    except zlib.error:
        pass
    return bytes(found)
