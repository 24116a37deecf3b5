"""A web server on this machine that fails in chosen ways."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Faults:
    """`drop_after` bytes of a body the connection is closed, `cut_after` it ends in good order
    with a short Content-Length; `refuse` requests are answered with `status`. The first two happen
    `times` times.
    """

    drop_after: int = 0
    cut_after: int = 0
    times: int = 0
    refuse: int = 0
    status: int = 503
    retry_after: str = ""
    ranges: bool = True
    tags: bool = True
    etag: str = "v1"
    change_after: int = 0  # requests, then the object is another one
    asked: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    faults: Faults

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        faults = self.faults
        wanted = self.headers.get("Range", "")
        faults.asked.append(wanted)
        faults.seen[self.path] += 1
        if faults.change_after and len(faults.asked) > faults.change_after:
            faults.etag = "v2"
        if faults.refuse:
            faults.refuse -= 1
            self._answer(faults.status, b"later", {"Retry-After": faults.retry_after or "0"})
            return
        data = self.files.get(self.path)
        if data is None:
            self._answer(404, b"no such object", {})
            return
        tags = {"ETag": f'"{faults.etag}"', "Last-Modified": formatdate(0, usegmt=True)}
        headers = dict(tags) if faults.tags else {}
        if wanted and faults.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
            if start >= len(data):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(data)}"} | headers)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
            self._answer(206, data[start:stop], headers)
        else:
            self._answer(200, data, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        faults = self.faults
        failing = faults.times > 0 and status < 300 and len(body) > 1
        cut = failing and faults.cut_after and len(body) > faults.cut_after
        drop = failing and faults.drop_after and len(body) > faults.drop_after
        faults.times -= bool(cut or drop)
        if cut and status == 206:
            body = body[: faults.cut_after]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if drop:
            self.wfile.write(body[: faults.drop_after])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(body)


@contextmanager
def serve(files: dict[str, bytes], faults: Faults | None = None) -> Iterator[str]:
    """Serve `files` by their paths; gives the address of the server."""
    handler = type("Handler", (_Handler,), {"files": files, "faults": faults or Faults()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
