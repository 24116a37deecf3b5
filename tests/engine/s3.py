"""A small object store that speaks as much S3 as a client needs, for tests: objects in memory.

It honours `If-None-Match: *` as S3 does (412 where a key exists), and like some compatible
servers it does not say in the answer which condition failed.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import fsspec

NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


class Bucket:
    """Objects by "/bucket/key", and what was asked for."""

    def __init__(self, honours_conditions: bool = True) -> None:
        self.objects: dict[str, bytes] = {}
        self.lock = threading.Lock()
        self.honours_conditions = honours_conditions
        self.refused = 0
        self.ranges: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """One request; the server's `bucket` holds the objects."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, *values: object) -> None:
        """Nothing is logged."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _error(self, status: int, code: str) -> None:
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._answer(status, body, Content_Type="application/xml")

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self._unchunked(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return self._unchunked(b"".join(parts))

    def _unchunked(self, body: bytes) -> bytes:
        """The payload of an `aws-chunked` body: its own sizes, signatures and trailers left out."""
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        parts, at = [], 0
        while True:
            end = body.index(b"\r\n", at)
            size = int(body[at:end].split(b";")[0], 16)
            if not size:
                return b"".join(parts)
            parts.append(body[end + 2 : end + 2 + size])
            at = end + 4 + size

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path)

    def do_PUT(self) -> None:
        body = self._body()
        with self.bucket.lock:
            conditional = self.headers.get("If-None-Match") == "*"
            if conditional and self.bucket.honours_conditions and self._key in self.bucket.objects:
                self.bucket.refused += 1
                refused = True
            else:
                self.bucket.objects[self._key] = body
                refused = False
        if refused:
            self._error(412, "PreconditionFailed")
        else:
            self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        if "list-type" in query:
            self._list(query["prefix"][0] if "prefix" in query else "")
            return
        body = self.bucket.objects.get(self._key)
        if body is None:
            self._error(404, "NoSuchKey")
            return
        found = {
            "ETag": f'"{hashlib.md5(body).hexdigest()}"',
            "Last_Modified": formatdate(0, usegmt=True),
        }
        wanted = self.headers.get("Range")
        if wanted and self.command == "GET":
            self.bucket.ranges.append(wanted)
            first, last = wanted.removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or len(body)), len(body) - 1)
            where = f"bytes {start}-{end}/{len(body)}"
            self._answer(206, body[start : end + 1], Content_Range=where, **found)
        else:
            self._answer(200, body, Content_Length=str(len(body)), **found)

    do_HEAD = do_GET  # noqa: N815 (the name that http.server calls)

    def do_DELETE(self) -> None:
        with self.bucket.lock:
            self.bucket.objects.pop(self._key, None)
        self._answer(204)

    def _list(self, prefix: str) -> None:
        base = self._key.rstrip("/") + "/"
        rows = "".join(
            f"<Contents><Key>{escape(key.removeprefix(base))}</Key><Size>{len(body)}</Size>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>x</ETag>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key, body in sorted(self.bucket.objects.items())
            if key.startswith(base + prefix)
        )
        body = (
            f"<ListBucketResult {NAMESPACE}><Name>b</Name><Prefix>{escape(prefix)}</Prefix>"
            f"<MaxKeys>1000000</MaxKeys><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        )
        self._answer(200, body.encode(), Content_Type="application/xml")


@contextmanager
def serving(honours_conditions: bool = True) -> Iterator[Bucket]:
    """A server for the length of the block, which s3:// addresses of this process lead to."""
    bucket = Bucket(honours_conditions)
    handler = type("BoundHandler", (Handler,), {"bucket": bucket})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield bucket
    finally:
        server.shutdown()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        from skywright.engine.store import open_store

        open_store.cache_clear()
        fsspec.get_filesystem_class("s3").clear_instance_cache()
