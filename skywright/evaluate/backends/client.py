"""JSON over HTTP to a server that may be busy, slow or gone."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from skywright.errors import UserError

KEY_VARIABLE = "SKYWRIGHT_API_KEY"
"""Sent as a bearer token. Of our own, so that no key meant for another host is sent anywhere."""

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be other next time; 501 and the 4xx others will not."""
_LONGEST_WAIT_S = 60.0


class Client:
    """One server. Safe to call from several threads."""

    def __init__(
        self,
        base: str,
        timeout_s: float,
        attempts: int,
        backoff_s: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """base: address without a path's last slash; see `BackendOptions` for the others."""
        self.base = base
        self._timeout_s, self._attempts, self._backoff_s = timeout_s, attempts, backoff_s
        self._sleep = sleep
        key = os.environ.get(KEY_VARIABLE)
        self._http = httpx2.Client(
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # Each back-end limits how many requests it makes at once.
            limits=httpx2.Limits(max_connections=None),
        )

    def find(self, path: str) -> Any:
        """The JSON at a path, or None if the server has nothing there."""
        response = self._send("GET", path)
        return self._json(response, path) if response.status_code == 200 else None

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers. Raises `UserError` with its own words if it refuses."""
        response = self._send("POST", path, body)
        if response.status_code != 200:
            raise UserError(
                f"{self.base}{path}: the server refuses ({response.status_code}:"
                f" {_words(response)})"
            )
        return self._json(response, path)

    def _json(self, response: httpx2.Response, path: str) -> Any:
        try:
            return response.json()
        except ValueError:
            raise UserError(
                f"{self.base}{path}: the answer is no JSON ({response.text[:80]!r}); is this the"
                " model server's address?"
            ) from None

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        """The first answer that another attempt would not change."""
        wait, trouble = self._backoff_s, ""
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(min(wait, _LONGEST_WAIT_S))
                wait *= 2
            try:
                response = self._http.request(method, self.base + path, json=body)
            except httpx2.TimeoutException:
                trouble = f"no answer within {self._timeout_s:g} s"
            except (httpx2.TransportError, httpx2.InvalidURL) as error:
                trouble = str(error) or type(error).__name__
            else:
                if response.status_code not in _AGAIN:
                    return response
                trouble = f"{response.status_code}: {_words(response)}"
                wait = max(wait, _retry_after_s(response))
        raise UserError(
            f"{self.base}{path}: failed {self._attempts} times (last: {trouble}); start the server,"
            " or lower --concurrency if it is overloaded"
        )


def _retry_after_s(response: httpx2.Response) -> float:
    """Seconds that the server asks to wait; 0 where it names none (or a date)."""
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else 0.0


def _words(response: httpx2.Response) -> str:
    """What a server says of its refusal, in one short line."""
    try:
        content = response.json()
    except ValueError:
        content = response.text
    if isinstance(content, dict):
        content = content.get("error", content.get("message", content))
    if isinstance(content, dict):
        content = content.get("message", content)
    return " ".join(str(content).split())[:200] or "no reason given"
