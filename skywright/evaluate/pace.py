"""How fast tokens are scored, and how long the rest will take."""

from __future__ import annotations

import time
from collections.abc import Callable


def duration(seconds: float) -> str:
    """A stretch of time in one unit: "48 s", "12 min", "3.1 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Pace:
    """Told how far a set is scored, says how fast that goes.

    What was done when it is first told took no time that it knows of and is left out: parts of a
    run that was killed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None

    def __call__(self, done_tokens: float, total_tokens: float) -> str:
        """ "212 tokens/s, 9 min left"; empty until something has been scored."""
        now = self._clock()
        if self._first is None:
            self._first = now, done_tokens
        began, before = self._first
        if done_tokens <= before or now <= began:
            return ""
        rate = (done_tokens - before) / (now - began)
        left = duration((total_tokens - done_tokens) / rate)
        return f"{rate:,.0f} tokens/s, {left} left"
