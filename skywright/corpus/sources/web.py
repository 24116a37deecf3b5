"""Objects on a web server, read by range requests (RFC 9110, section 14)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from skywright.corpus.sources.remote import Body, PassingError, Stat
from skywright.errors import UserError

_RANGE = re.compile(r"bytes (\d+)-\d*/(\d+)$")
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_TIMEOUT_S = 60.0  # without a byte


@lru_cache(maxsize=1)
def _client() -> Any:
    import httpx2

    # Packed bytes are wanted as they stand, not as a server would pack them for the way.
    headers = {"Accept-Encoding": "identity", "User-Agent": "skywright (corpus reader)"}
    return httpx2.Client(headers=headers, timeout=_TIMEOUT_S, follow_redirects=True)


class WebTransport:
    """One address. Servers that do not know ranges are read from the start again after a break."""

    def __init__(self, url: str) -> None:
        self._url = url

    def stat(self) -> Stat:
        response = self._get("bytes=0-0")
        try:
            if response.status_code == 416:  # an empty object has no first byte
                return Stat(0, _tag(response))
            size = _whole_size(response)
            if size is None:
                raise UserError(f"{self._url}: the server does not say how large it is")
            return Stat(size, _tag(response))
        finally:
            response.close()

    def open(self, offset: int, stat: Stat) -> Body:
        response = self._get(f"bytes={offset}-")
        found = _RANGE.match(response.headers.get("content-range", ""))
        at = int(found.group(1)) if response.status_code == 206 and found else 0
        if _tag(response) != stat.tag or _whole_size(response) != stat.size or at > offset:
            response.close()
            raise UserError(f"{self._url}: changed while it was read; run again")
        return _WebBody(response, skip=offset - at)

    def _get(self, wanted: str) -> Any:
        import httpx2

        request = _client().build_request("GET", self._url, headers={"Range": wanted})
        try:
            response = _client().send(request, stream=True)
        except httpx2.TransportError as error:
            raise PassingError(f"{type(error).__name__}: {error}") from None
        except (httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            raise UserError(f"{self._url}: cannot be read ({error}); check the address") from None
        status = response.status_code
        if status in (200, 206, 416):
            return response
        response.close()
        if status in _PASSING:
            after = response.headers.get("retry-after", "")
            raise PassingError(f"status {status}", float(after) if after.isdigit() else 0.0)
        raise UserError(
            f"{self._url}: the server answers {status} {response.reason_phrase}; check the address"
        )


class _WebBody:
    """The bytes of a response from some place on."""

    def __init__(self, response: Any, skip: int) -> None:
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw()  # as they come: none waits for more
        self._held = memoryview(b"")
        self._skip = skip

    def read(self, size: int) -> bytes:
        import httpx2

        try:
            while not self._held:
                piece = memoryview(next(self._pieces))
                cut = min(self._skip, len(piece))
                self._skip -= cut
                self._held = piece[cut:]
        except StopIteration:
            return b""
        except (httpx2.TransportError, httpx2.StreamError) as error:
            raise PassingError(f"{type(error).__name__}: {error}") from None
        data = bytes(self._held[:size])
        self._held = self._held[size:]
        return data

    def close(self) -> None:
        self._response.close()


def _whole_size(response: Any) -> int | None:
    """Size of the whole object, whichever part of it the response holds."""
    found = _RANGE.match(response.headers.get("content-range", ""))
    if response.status_code == 206:
        return int(found.group(2)) if found else None
    length = response.headers.get("content-length", "")
    return int(length) if length.isdigit() else None


def _tag(response: Any) -> str:
    headers = response.headers
    return str(headers.get("etag", "").strip('"') or headers.get("last-modified", ""))
