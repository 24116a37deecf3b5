"""What commands print: a progress bar on a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from skywright.engine.progress import Progress, silent

PLAIN_EVERY_S = 5.0  # how often a pipe or log file gets a line


def say(text: str) -> None:
    """Print a line for people, on standard error, so that standard output stays data."""
    print(text, file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """Print a value as one JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=1, default=str))


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Print rows as an aligned table on standard output."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if not rows:
        print("(nothing)")
        return
    columns = list(columns or rows[0])
    table = Table(*columns)
    for row in rows:
        table.add_row(*(escape(_text(row.get(column))) for column in columns))
    # A pipe or file has no width of its own: nothing is cut there.
    Console(width=None if sys.stdout.isatty() else 240).print(table)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


class _PlainLines:
    """At most one line every few seconds."""

    def __init__(self) -> None:
        self._told = -PLAIN_EVERY_S

    def __call__(self, done: float, total: float, text: str) -> None:
        now = time.monotonic()
        if now - self._told >= PLAIN_EVERY_S:
            self._told = now
            share = f" {100 * done / total:.0f} %" if total else ""
            say(f"  {text}{share}")


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A `Progress` for the length of the block; `quiet` makes it silent."""
    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield _PlainLines()
    else:
        from rich import progress as bars
        from rich.console import Console

        with bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as shown:
            task = shown.add_task("", total=None)

            def update(done: float, total: float, text: str) -> None:
                shown.update(task, completed=done, total=total or None, description=text)

            yield update
