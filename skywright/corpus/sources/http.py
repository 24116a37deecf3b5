"""An HTTP response as a crawler stored it: status, declared type and charset, decoded body.

Crawlers store what servers sent, so everything here may be wrong: headers without a status,
a transfer coding that was already undone, a content coding that breaks off.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]+)", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class BrokenResponseError(ValueError):
    """A response that cannot be read; `rule` says in one word why."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


@dataclass(frozen=True)
class Response:
    """`content_type` is lower-case without parameters; `body` has its codings undone.

    `stored` is the body as it was written, `unchunked` the same without the transfer coding.
    """

    status: int | None
    content_type: str | None
    charset: str | None
    body: bytes
    stored: bytes
    unchunked: bytes


def content_type_and_charset(value: str | None) -> tuple[str | None, str | None]:
    """Split a Content-Type value into the type and the declared charset, both lower-case."""
    if not value:
        return None, None
    charset = _CHARSET.search(value)
    kind = value.split(";", 1)[0].strip().lower()
    return kind or None, charset.group(1).lower() if charset else None


def parse(block: bytes, max_bytes: int) -> Response:
    """Parse a stored HTTP response.

    Raises `BrokenResponseError` with the rule "corrupt", "truncated" or "too_large" (a body that
    unpacks to more than `max_bytes`).
    """
    status_line = _STATUS.match(block)
    end = _HEAD_END.search(block)
    if status_line is None or end is None:
        raise BrokenResponseError("corrupt", "no HTTP status line and headers")
    headers: dict[str, str] = {}
    for line in block[: end.start()].splitlines()[1:]:
        name, _, value = line.partition(b":")
        headers.setdefault(name.decode("latin-1").strip().lower(), value.decode("latin-1").strip())
    stored = body = block[end.end() :]
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _join_chunks(body)
    unchunked = body
    for coding in reversed(headers.get("content-encoding", "").lower().split(",")):
        body = _decode(body, coding.strip(), max_bytes)
    kind, charset = content_type_and_charset(headers.get("content-type"))
    return Response(int(status_line.group(1)), kind, charset, body, stored, unchunked)


def _join_chunks(body: bytes) -> bytes:
    """Undo the chunked transfer coding; a body that does not start with a chunk is returned as is
    (many crawlers undo the coding and keep the header).
    """
    parts: list[bytes] = []
    at = 0
    while (size := _CHUNK.match(body, at)) is not None:
        length = int(size.group(1), 16)
        if length == 0:
            return b"".join(parts)
        chunk = body[size.end() : size.end() + length]
        if len(chunk) < length:
            raise BrokenResponseError("truncated", "the chunked body breaks off")
        parts.append(chunk)
        at = size.end() + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    if not parts:
        return body
    raise BrokenResponseError("truncated", "the chunked body has no end")


def _decode(body: bytes, coding: str, max_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
        return _inflate(body, 31, max_bytes)
    if coding == "deflate" and body:
        # Servers send zlib streams (as the standard says) or raw deflate; neither, if undone.
        for window in (15, -15):
            try:
                return _inflate(body, window, max_bytes)
            except BrokenResponseError as error:
                if error.rule == "too_large":
                    raise
        return body
    if coding in ("br", "zstd") and body and not body.lstrip()[:1] == b"<":
        raise BrokenResponseError("content_encoding", f"the content coding {coding!r} is not read")
    return body


def _inflate(body: bytes, window: int, max_bytes: int) -> bytes:
    decoder = zlib.decompressobj(window)
    try:
        result = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise BrokenResponseError("corrupt", f"the compressed body is damaged: {error}") from None
    if len(result) > max_bytes:
        raise BrokenResponseError("too_large", f"the body unpacks to more than {max_bytes} bytes")
    if not decoder.eof:
        raise BrokenResponseError("truncated", "the compressed body breaks off")
    return result
