"""WARC files, packed or plain, read so that damage costs the damaged record only.

The usual readers return a cut record as if it were whole and stop at the first damaged byte. Here
every length is compared with what was read, every checksum and digest is verified, reading goes
on behind the damage, and each damaged record is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from skywright.corpus.records import Record
from skywright.corpus.sources.digests import matches
from skywright.corpus.sources.frames import (
    GZIP,
    PLAIN,
    BrokenOffError,
    Frame,
    FrameError,
    Packing,
    next_frame,
    packing_of,
    salvaged,
)
from skywright.corpus.sources.inputs import Input
from skywright.corpus.sources.warc_record import (
    INPUT_TYPES,
    OTHER_TYPES,
    START,
    Head,
    parse_head,
    record_of,
)

MAX_HEAD_BYTES = 1 << 16
"""A head of ten lines takes a KiB; the address is the only long part, and servers refuse
addresses above 8 KiB."""

_READ_BYTES = 1 << 16
_BLANK = b"\r\n\0"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_KIND = re.compile(rb"\nWARC-Type: *([a-z]+)\r?\n")
_TARGET = re.compile(rb"\nWARC-Target-URI: *<?([^\r\n>]+)>?\r?\n")


def read_warc_file(path: Path, name: str, max_bytes: int) -> Iterator[Record]:
    """`read_warc` of a file of this machine."""
    with Input(open(path, "rb")) as source:
        yield from read_warc(source, name, max_bytes)


def read_warc(
    source: Input, name: str, max_bytes: int, start: int = 0, end: int | None = None
) -> Iterator[Record]:
    """All input records (responses, resources, conversions) of a WARC file.

    `name` is "<source>/<file>"; a record is called "<name>:<offset>", the offset being that of
    its frame in the file ("<frame>+<offset>" when a frame holds several records). Records of more
    than `max_bytes` are reported as "too_large", not read. Only frames (of a plain file: records)
    that begin in [`start`, `end`) are read.
    """
    packing = packing_of(source, name)
    if packing is PLAIN:
        yield from _Records(_PlainReader(source, start), f"{name}:", max_bytes, start, end)
        return
    at: int | None = start
    while at is not None and (end is None or at < end) and source.some(at, 1):
        frame = packing.open(source, at)
        records = _Records(_Reader(frame), f"{name}:{at}", max_bytes)
        waiting: Record | None = None  # good so far, but its frame's checksum is still to come
        try:
            for record in records:
                if waiting is not None:
                    yield waiting
                waiting = record
            if waiting is not None:
                yield waiting
            at = frame.drain()
        except FrameError as error:
            if records.seen == 0 and source.is_padding(at):
                return
            following = next_frame(source, packing, at + 1, START)
            rule = "corrupt" if isinstance(error, BrokenOffError) and following else error.rule
            head = salvaged(source, at) if packing is GZIP else b""
            yield from records.damaged(waiting, rule, str(error), head)
            at = following


def frame_starts(source: Input, packing: Packing) -> Iterator[int]:
    """Offsets at which `read_warc` begins to read a packed file's frames, in order."""
    at: int | None = 0
    while at is not None and source.some(at, 1):
        yield at
        try:
            at = packing.open(source, at).drain()
        except FrameError:
            at = None if source.is_padding(at) else next_frame(source, packing, at + 1, START)


def record_starts(source: Input, max_bytes: int) -> Iterator[int]:
    """Offsets of the input records that `read_warc` finds in a plain file, in order."""
    records = _Records(_PlainReader(source, 0), "", max_bytes)
    for _ in records:
        assert records.where is not None
        yield records.where


# ---------------------------------------------------------------- bytes


class _Reader:
    """Unpacked bytes of a frame, with a place to return to."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self._held = b""
        self._base = 0  # offset of the first byte held
        self.at = 0
        self.keep = 0  # from here on, bytes are held

    def _more(self, size: int = _READ_BYTES) -> bool:
        data = self._frame.read(size)
        if data:
            cut = min(self.keep, self.at) - self._base
            self._held = self._held[cut:] + data
            self._base += cut
        return bool(data)

    def _have(self, size: int) -> bool:
        """Hold `size` bytes from here on; False if the frame ends before."""
        have = self._base + len(self._held) - self.at
        if have >= size:
            return True
        cut = min(self.keep, self.at) - self._base
        parts = [self._held[cut:]]
        self._base += cut
        while have < size and (data := self._frame.read(max(size - have, _READ_BYTES))):
            parts.append(data)
            have += len(data)
        self._held = b"".join(parts)
        return have >= size

    def peek(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end of the frame."""
        self._have(size)
        at = self.at - self._base
        return self._held[at : at + size]

    def take(self, size: int) -> bytes:
        """`peek`, and go behind what was seen."""
        data = self.peek(size)
        self.at += len(data)
        return data

    def skip(self, size: int) -> int:
        """Go on by `size` bytes, holding none of them; return how many there were."""
        done = 0
        while done < size and (part := self.peek(min(size - done, _READ_BYTES))):
            self.at += len(part)
            self.keep = self.at
            done += len(part)
        return done

    def find(self, pattern: re.Pattern[bytes], limit: int) -> tuple[int, int] | None:
        """Where the pattern is found within `limit` bytes from here on: its start and its end."""
        size = min(4096, limit)
        while True:
            whole = self._have(size)
            at = self.at - self._base
            found = pattern.search(self._held, at, at + size)
            if found:
                return found.start() + self._base, found.end() + self._base
            if not whole or size >= limit:
                return None
            size = min(4 * size, limit)

    def to_blank_end(self) -> bool:
        """Go behind line ends and padding; False if nothing else follows."""
        while data := self.peek(64):
            rest = data.lstrip(_BLANK)
            self.at += len(data) - len(rest)
            if rest:
                return True
            self.keep = self.at
        return False

    def to_start(self) -> bool:
        """Go on to the next line that begins as a record does."""
        needle = b"\n" + START
        self.keep = self.at
        while True:
            found = self._held.find(needle, self.at - self._base)
            if found >= 0:
                self.at = self.keep = self._base + found + 1
                return True
            self.at = self.keep = max(self._base + len(self._held) - len(needle) + 1, self.at)
            if not self._more():
                self.at = self._base + len(self._held)
                return False

    def reopened(self, at: int) -> _Reader | None:
        """A reader from an earlier place that is held no more, if that is cheap."""
        return None


class _PlainReader(_Reader):
    """The bytes of a plain file, told by their offset in the file."""

    def __init__(self, source: Input, start: int) -> None:
        super().__init__(PLAIN.open(source, start))
        self._source = source
        self._base = self.at = self.keep = start

    def reopened(self, at: int) -> _Reader | None:
        """Plain files can be read again from anywhere."""
        return _PlainReader(self._source, at)


# ---------------------------------------------------------------- records


class _Records:
    """The input records of one frame, or of a plain file, good and bad."""

    def __init__(
        self, reader: _Reader, name: str, max_bytes: int, start: int = 0, end: int | None = None
    ) -> None:
        self._reader, self._name, self._max_bytes, self._end = reader, name, max_bytes, end
        self._plain = isinstance(reader, _PlainReader)
        self.where: int | None = None  # the record that is being read
        self._head: Head | None = None
        self.seen = 0

    def _called(self, where: int) -> str:
        if self._plain:
            return f"{self._name}{where}"
        return f"{self._name}+{where}" if where else self._name

    def _bad(self, rule: str, message: str, **rest: Any) -> Record:
        assert self.where is not None
        url, date = (self._head.url, self._head.date) if self._head else (None, None)
        return Record(self._called(self.where), url, date, rule=rule, message=message, **rest)

    def damaged(
        self, waiting: Record | None, rule: str, message: str, salvage: bytes
    ) -> Iterator[Record]:
        """Rows for a frame that broke off: the record it broke in, or the last one read."""
        if self.where is None and waiting is not None:
            # All was read, and the checksum says that some of it is wrong.
            yield (
                waiting
                if waiting.rule
                else Record(waiting.record, waiting.url, waiting.date, rule=rule, message=message)
            )
            return
        if waiting is not None:
            yield waiting
        kind, url = (self._head.kind, self._head.url) if self._head else _salvaged(salvage)
        nothing_lost = self.where is None and self.seen == 1  # a request, say, and read to its end
        if kind not in OTHER_TYPES and not nothing_lost:
            yield Record(self._called(self.where or 0), url, rule=rule, message=message)

    def __iter__(self) -> Iterator[Record]:
        while self._reader.to_blank_end():
            where = self._reader.at
            if self._end is not None and where >= self._end:
                return
            self.where, self._head = where, None
            self.seen += 1
            yield from self._one()
            self.where = self._head = None

    def _one(self) -> Iterator[Record]:
        """Read the record that begins here, and go to where the next one is to be looked for."""
        reader = self._reader
        reader.keep = reader.at
        found = reader.find(_HEAD_END, MAX_HEAD_BYTES)
        head = parse_head(reader.peek(found[1] - reader.at)) if found else None
        if found is None or head is None:
            seen = reader.peek(MAX_HEAD_BYTES)
            kind, url = _salvaged(seen[: found[1] - reader.at] if found else seen)
            if kind not in OTHER_TYPES:
                cut = found is None and seen.startswith(START) and len(seen) < MAX_HEAD_BYTES
                rule = "truncated" if cut else "corrupt"
                yield replace(self._bad(rule, "no head of a record"), url=url)
            self.where = None  # it is answered for, whatever comes of the search
            reader.at += 1
            reader.to_start()
            return
        self._head = head
        reader.at = body = found[1]
        wanted = head.kind in INPUT_TYPES
        if head.length is None or not (wanted or head.kind in OTHER_TYPES):
            message = "no Content-Length" if head.length is None else "no known WARC-Type"
            yield self._bad("corrupt", f"the record has {message}")
            self._search_from(body - 1)
            return
        large = head.length > self._max_bytes
        block = b"" if large else reader.take(head.length)
        got = reader.skip(head.length) if large else len(block)
        if got == head.length and (self._ends() or (block and matches(head.block_digest, block))):
            if wanted and large:
                yield self._bad(
                    "too_large", f"{got} bytes", bytes=got, value=float(got),
                    threshold=float(self._max_bytes),
                )  # fmt: skip
            elif wanted:
                yield record_of(head, block, self._called(self.where or 0), self._max_bytes)
            return
        if wanted and got < head.length:
            yield self._bad(
                "truncated", f"{got} bytes instead of {head.length}", bytes=got, value=float(got),
                threshold=float(head.length),
            )  # fmt: skip
        elif wanted:
            yield self._bad("corrupt", "no record begins where this one should end", bytes=got)
        # A wrong length swallows the records behind it; look for them.
        self._search_from(body - 1)

    def _ends(self) -> bool:
        """Whether a record ends here: its end marks, another record, or nothing more."""
        tail = self._reader.peek(16)
        rest = tail.lstrip(_BLANK)
        return tail.startswith(b"\r\n\r\n") or not rest or rest.startswith(START)

    def _search_from(self, at: int) -> None:
        """Look for the next record from `at` on, or from here if that is no more at hand."""
        self.where = None  # the record is answered for, whatever comes of the search
        if at >= self._reader.keep:
            self._reader.at = at
        else:
            self._reader = self._reader.reopened(at) or self._reader
        self._reader.to_start()


def _salvaged(head: bytes) -> tuple[str | None, str | None]:
    """Type and URL of a damaged member's record, as far as they can still be read."""
    kind, url = (
        found.group(1).decode("utf-8", "replace") if found else None
        for found in (pattern.search(head) for pattern in (_KIND, _TARGET))
    )
    return kind, url
