"""How long work tells its caller where it stands, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float, float, str], None]
"""Called as progress(done, total, text); `done` and `total` share any unit."""


def silent(done: float, total: float, text: str) -> None:
    """A progress listener that ignores everything."""
