"""WARC files, packed or plain, read through fastwarc so that damage costs the damaged record only.

Three checks that a reader of real crawls needs and fastwarc leaves to its caller: a record that is
shorter than its Content-Length is reported (fastwarc returns what is there), a gzip member whose
checksum fails is reported, and reading goes on behind the damage.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastwarc.warc import ArchiveIterator

from skywright.corpus.panics import panics_as_errors
from skywright.corpus.records import Record
from skywright.corpus.sources.http import BrokenResponseError, content_type_and_charset, parse
from skywright.corpus.sources.members import (
    MAGIC,
    BrokenOffError,
    MemberStream,
    first_bytes,
    is_zeros,
    next_member,
    next_text,
)

_INPUT_TYPES = ("response", "resource", "conversion")
_OTHER_TYPES = ("warcinfo", "request", "metadata", "revisit", "continuation")
_START = b"WARC/1."
_KIND = re.compile(rb"\nWARC-Type: *([a-z]+)\r?\n")
_TARGET = re.compile(rb"\nWARC-Target-URI: *<?([^\r\n>]+)>?\r?\n")


def read_warc(path: Path, name: str, max_bytes: int) -> Iterator[Record]:
    """All input records (responses, resources, conversions) of a WARC file.

    `name` is "<source>/<file>"; a record is called "<name>:<offset>", the offset being that of
    its gzip member in the file ("<member>+<offset>" when a member holds several records).
    Records of more than `max_bytes` are reported as "too_large", not read.
    """
    with open(path, "rb") as file:
        packed = file.read(3) == MAGIC or str(path).endswith(".gz")
        yield from (_packed if packed else _plain)(file, name, max_bytes)


def _packed(file: IO[bytes], name: str, max_bytes: int) -> Iterator[Record]:
    at: int | None = 0
    size = file.seek(0, 2)
    while at is not None and at < size:
        stream = MemberStream(file, at)
        waiting: Record | None = None  # good so far, but its member's checksum is still to come
        last: Any = None
        try:
            with panics_as_errors():
                for warc_record in ArchiveIterator(
                    stream, parse_http=False, stream_detect=False, fsspec_args=False
                ):
                    last = warc_record
                    where = warc_record.stream_pos
                    record = _read(warc_record, f"{name}:{at}" + (f"+{where}" if where else ""),
                                   max_bytes)  # fmt: skip
                    if waiting is not None:
                        yield waiting
                    waiting = record
                end = stream.drain()
            if waiting is not None:
                yield waiting
            if last is None:
                yield Record(f"{name}:{at}", rule="corrupt", message="a member without a record")
            at = end
        except (OSError, ValueError, EOFError, zlib.error) as error:
            cut = isinstance(error, BrokenOffError)
            if last is None and cut is False and is_zeros(file, at):
                return
            kind, url = _head(file, at)
            following = next_member(file, at + 1, _START)
            if kind not in _OTHER_TYPES:
                yield Record(
                    waiting.record if waiting else f"{name}:{at}",
                    url=waiting.url if waiting else url,
                    rule="truncated" if cut and following is None else "corrupt",
                    message=f"damaged gzip member: {error}",
                )
            at = following


def _head(file: IO[bytes], at: int) -> tuple[str | None, str | None]:
    """Type and URL of a damaged member's record, as far as they can still be read."""
    head = first_bytes(file, at)
    kind, url = (
        found.group(1).decode("utf-8", "replace") if found else None
        for found in (pattern.search(head) for pattern in (_KIND, _TARGET))
    )
    return kind, url


def _plain(file: IO[bytes], name: str, max_bytes: int) -> Iterator[Record]:
    at: int | None = 0
    size = file.seek(0, 2)
    while at is not None and at < size:
        file.seek(at)
        base = at
        at = None
        waiting: Record | None = None
        waiting_at = base
        try:
            with panics_as_errors():
                for warc_record in ArchiveIterator(
                    _Offset(file, base), parse_http=False, stream_detect=False, fsspec_args=False
                ):
                    if waiting is not None:
                        yield waiting
                    waiting_at = base + warc_record.stream_pos
                    waiting = _read(warc_record, f"{name}:{waiting_at}", max_bytes)
            if waiting is not None:
                yield waiting
                if waiting.rule == "truncated":
                    # A wrong length swallows the records behind it; look for them.
                    at = _next_plain(file, waiting_at)
        except (OSError, ValueError, EOFError) as error:
            # The length of the last record leads into nowhere, so that record is not to be trusted.
            yield Record(
                waiting.record if waiting else f"{name}:{waiting_at}",
                url=waiting.url if waiting else None,
                rule="corrupt",
                message=f"no record begins where this one should end: {error}",
            )
            at = _next_plain(file, waiting_at)


def _next_plain(file: IO[bytes], after: int) -> int | None:
    found = next_text(file, after + 1, b"\n" + _START)
    return None if found is None else found + 1


class _Offset(io.RawIOBase):
    """A file from `base` on, told as if it began there."""

    def __init__(self, file: IO[bytes], base: int) -> None:
        self._file, self._base = file, base

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def tell(self) -> int:
        return self._file.tell() - self._base


def _is_input(record: Any) -> bool:
    return str(record.record_type) in _INPUT_TYPES


def _url(record: Any) -> str | None:
    if record is None:
        return None
    url = record.headers.get("WARC-Target-URI")
    return url.strip().removeprefix("<").removesuffix(">") if url else None


def _read(record: Any, name: str, max_bytes: int) -> Record | None:
    """One WARC record as a `Record`, or None when its type is no input."""
    if not _is_input(record):
        return None
    headers = record.headers
    url, date = _url(record), headers.get("WARC-Date")
    declared_text = headers.get("Content-Length")
    meta = {"warc_record_id": headers.get("WARC-Record-ID")}
    if headers.get("WARC-Truncated"):
        meta["warc_truncated"] = headers.get("WARC-Truncated")

    def bad(rule: str, message: str, size: int = 0, **rest: Any) -> Record:
        return Record(name, url, date, rule=rule, message=message, bytes=size, **rest)

    if declared_text is None or not declared_text.strip().isdigit():
        return bad("corrupt", "the record has no Content-Length")
    declared = int(declared_text)
    if declared > max_bytes:
        return bad(
            "too_large", f"{declared} bytes", declared, value=float(declared),
            threshold=float(max_bytes),
        )  # fmt: skip
    block = record.reader.read()
    if len(block) < declared:
        return bad(
            "truncated", f"{len(block)} bytes instead of {declared}", len(block),
            value=float(len(block)), threshold=float(declared),
        )  # fmt: skip
    kind = str(record.record_type)
    described = json.dumps({k: v for k, v in meta.items() if v}, sort_keys=True)
    if kind == "response" and record.is_http:
        try:
            response = parse(block, max_bytes)
        except BrokenResponseError as error:
            return bad(error.rule, str(error), len(block))
        return Record(
            name, url, date, response.body, "html", response.status, response.content_type,
            response.charset, described, bytes=len(response.body),
        )  # fmt: skip
    content_type, charset = content_type_and_charset(headers.get("Content-Type"))
    form = "text" if kind == "conversion" else "html"
    if form == "text" and not _is_utf8(block):
        return bad("not_utf8", "the converted text is not UTF-8", len(block))
    return Record(
        name, url, date, block, form, None, content_type, charset, described, bytes=len(block)
    )


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True
