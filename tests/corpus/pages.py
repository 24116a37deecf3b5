"""Pages and WARC records for tests, written by hand so that every byte is known."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
WARC_FILES = sorted((DATA / "warc").glob("*.warc*")) if DATA.is_dir() else []

needs_data = pytest.mark.skipif(not WARC_FILES, reason="no shared/data beside the repository")

EN = (
    "The river that runs through the old town has been bridged four times since it was founded. "
    "Each of the bridges was built by a different guild, and the marks that they left are still "
    "to be seen on the piers when the water is low in the summer months."
)
ZH = (
    "这条河穿过老城，自建城以来先后修过四座桥。每一座桥都由不同的行会建造，夏天水位低的时候，"
    "人们还可以在桥墩上看到他们当年留下的记号。"
)
ZH_HANT = (
    "這條河穿過老城，自建城以來先後修過四座橋。每一座橋都由不同的行會建造，夏天水位低的時候，"
    "人們還可以在橋墩上看到他們當年留下的記號。"
)


def html(text: str, charset: str | None = None, title: str = "A page") -> str:
    meta = f'<meta charset="{charset}">' if charset else ""
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n"))
    return (
        f"<!DOCTYPE html><html><head>{meta}<title>{title}</title></head>"
        f"<body><main><article>{paragraphs}</article></main></body></html>"
    )


def http(
    body: bytes, content_type: str = "text/html", status: str = "200 OK", extra: str = ""
) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{extra}\r\n".encode() + body


def warc_record(
    url: str, block: bytes, kind: str = "response", date: str = "2024-01-01T00:00:00Z",
    length: int | None = None,
) -> bytes:  # fmt: skip
    media = "application/http; msgtype=response" if kind == "response" else "text/plain"
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{len(url)}>\r\n"
        f"WARC-Date: {date}\r\nWARC-Target-URI: {url}\r\nContent-Type: {media}\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def page_record(url: str, text: str, **rest: str) -> bytes:
    return warc_record(url, http(html(text, "utf-8").encode()), **rest)


def packed(records: list[bytes]) -> bytes:
    """One gzip member a record, as crawlers write them."""
    return b"".join(gzip.compress(record, mtime=0) for record in records)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (0, 0))
    return path
