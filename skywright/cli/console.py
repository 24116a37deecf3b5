"""What commands print: a progress bar on a terminal, plain lines elsewhere, JSON when asked."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from skywright.engine.progress import Progress, silent

if TYPE_CHECKING:
    from skywright.train.view import View
    from skywright.train.watch import About

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
    table = Table()
    for column in columns:
        numbers = all(isinstance(row.get(column), int | float | None) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
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


class _Steps:
    """A `Progress` that is a `Watcher` too: a bar or lines, and a `View` while a model trains."""

    def __init__(
        self,
        tell: Progress,
        hide: Callable[[], None] = lambda: None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        """`hide` and `show` take what `tell` draws off the terminal and put it back."""
        self._tell, self._hide, self._show = tell, hide, show
        self._view: View | None = None

    def __call__(self, done: float, total: float, text: str) -> None:
        if self._view is None:
            self._tell(done, total, text)

    def begin(self, about: About) -> None:
        from skywright.train.view import View  # with torch; whoever trains has it by now

        self._hide()
        self._view = View()
        self._view.begin(about)

    def step(self, line: Mapping[str, Any]) -> None:
        if self._view is not None:
            self._view.step(line)

    def validation(self, line: Mapping[str, Any]) -> None:
        if self._view is not None:
            self._view.validation(line)

    def continuations(self, line: Mapping[str, Any]) -> None:
        if self._view is not None:
            self._view.continuations(line)

    def end(self) -> None:
        if self._view is not None:
            self._view.end()
            self._view = None
            self._show()


@contextmanager
def progress_bar(quiet: bool = False) -> Iterator[Progress]:
    """A `Progress` for the length of the block; `quiet` makes it silent.

    While a model trains it gives way to a `skywright.train.view.View`.
    """
    if quiet:
        yield silent
    elif not sys.stderr.isatty():
        yield _Steps(_PlainLines())
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

            yield _Steps(update, shown.stop, shown.start)
