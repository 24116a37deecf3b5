"""A run seen from a terminal: a live picture of it, or a line now and then where none is."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from skywright.train.continuations import in_one_line, text_of
from skywright.train.utilisation import FORMULA, memory_bytes
from skywright.train.watch import About

PLAIN_EVERY_S = 10.0  # how often a pipe or log file gets a line
_BARS = "▁▂▃▄▅▆▇█"
_TREND_STEPS = 60


class View:
    """A `Watcher`, and a `Progress` (which it ignores), so that it can go wherever one goes.

    On a terminal a picture is redrawn twice a second by a thread: a step only leaves its line.
    Everything goes to standard error, or to `console`.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._live: Live | None = None
        self._reset(None)

    def _reset(self, about: About | None) -> None:
        self._about, self._began = about, time.monotonic()
        self._line: Mapping[str, Any] = {}
        self._losses: deque[float] = deque(maxlen=_TREND_STEPS)
        self._domains: list[Mapping[str, Any]] = []
        self._continuations: Mapping[str, Any] = {}
        self._skipped = 0
        self._told = 0.0

    def __call__(self, done: float, total: float, text: str) -> None:
        """As a `Progress`: `step` says more."""

    def begin(self, about: About) -> None:
        """Show the run from here on, and nothing of one that was shown before."""
        self._reset(about)
        if self._quiet:
            return
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._picture, console=self._console, refresh_per_second=2
            )
            self._live.start()
            return
        self._print(
            f"{about.parameters:,} parameters, {about.precision}, {about.threads} threads, "
            f"{about.steps:,} steps, {about.tokens:,} tokens"
        )
        self._print(self._convention(about))

    def step(self, line: Mapping[str, Any]) -> None:
        """Take a step's line."""
        self._line = line
        if line["loss_nats"] is not None:
            self._losses.append(line["loss_nats"])
        if "skipped" in line:
            self._skipped += 1
            self._print(f"step {line['step']} skipped: {line['skipped']}")
        now = time.monotonic()
        if self._live is None and now - self._told >= PLAIN_EVERY_S:
            self._told = now
            self._print("  ".join(f"{name} {value}" for name, value in self._numbers().items()))

    def validation(self, line: Mapping[str, Any]) -> None:
        """Take a validation's line."""
        self._domains = [*self._domains[-1:], line]
        if self._live is None:
            losses = (f"{k} {row['nats_per_token']:.3f}" for k, row in line["domains"].items())
            self._print(f"step {line['step']} held out: {', '.join(losses)}")

    def continuations(self, line: Mapping[str, Any]) -> None:
        """Take a line of continuations."""
        self._continuations = line
        for found in line["continuations"]:
            text = in_one_line(text_of(found))
            self._print(f"step {line['step']} after {found['prompt']!r}: {text}")

    def end(self) -> None:
        """Leave the last picture standing."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        elif self._line:
            self._print("  ".join(f"{name} {value}" for name, value in self._numbers().items()))

    def _print(self, text: str) -> None:
        if not self._quiet and self._live is None:
            print(text, file=self._console.file or sys.stderr, flush=True)

    def _seconds_left(self, about: About) -> float | None:
        """From all the time since this process began to train, validation and saving included."""
        done = self._line["step"] - about.done_step
        elapsed = time.monotonic() - self._began
        return elapsed / done * (about.steps - self._line["step"]) if done > 0 else None

    def _numbers(self) -> dict[str, str]:
        """What is shown of a step, ready to print."""
        about, line = self._about, self._line
        if about is None or not line:
            return {}
        left = self._seconds_left(about)
        return {
            "step": f"{line['step']:,}/{about.steps:,}",
            "segment": line["segment"],
            "tokens": f"{line['tokens']:,}",
            "loss": _number(line["loss_nats"], ".3f"),
            "lr": f"{line['lr']:.2e}",
            "norm": _number(line["grad_norm"], ".2f"),
            "tokens/s": _number(line["tokens_per_s"], ",.0f"),
            "MFU": _number(line["mfu"], ".1%"),
            "memory": f"{memory_bytes() / 2**30:.2f} GiB",
            "left": "-" if left is None else str(timedelta(seconds=round(left))),
        } | ({"skipped": str(self._skipped)} if self._skipped else {})

    @staticmethod
    def _convention(about: About) -> str:
        return f"MFU = {FORMULA}; peak {about.peak_flops / 1e9:,.0f} GFLOP/s, {about.peak_how}"

    def _picture(self) -> RenderableType:
        about = self._about
        if about is None or not self._line:
            return Text("the first step is being computed ...")
        grid = Table.grid(padding=(0, 3))
        numbers = list(self._numbers().items())
        for at in range(0, len(numbers), 5):
            row = numbers[at : at + 5]
            grid.add_row(*(Text(name, style="dim") for name, _ in row))
            grid.add_row(*(Text(value, style="bold") for _, value in row))
        parts: list[RenderableType] = [
            ProgressBar(total=about.steps, completed=self._line["step"]),
            grid,
            Text(f"loss of the last {len(self._losses)} steps  {_trend(self._losses)}"),
        ]
        if self._domains:
            parts.append(self._domain_table())
        if self._continuations:
            parts.append(self._continuation_table())
        parts.append(Text(self._convention(about), style="dim"))
        return Panel(Group(*parts), title=str(about.out))

    def _domain_table(self) -> Table:
        latest, before = self._domains[-1], self._domains[:-1]
        table = Table("domain", "nats/token", "bits/byte", "change", box=None, padding=(0, 2))
        for name, row in latest["domains"].items():
            old = before[0]["domains"].get(name) if before else None
            change = None if old is None else row["nats_per_token"] - old["nats_per_token"]
            table.add_row(
                name, f"{row['nats_per_token']:.3f}", f"{row['bpb']:.3f}", _number(change, "+.3f")
            )
        return table

    def _continuation_table(self) -> Table:
        line = self._continuations
        table = Table(
            Column("prompt", no_wrap=True, max_width=30, style="dim"),
            Column(f"goes on (step {line['step']:,})"),  # gives way where the terminal is narrow
            box=None,
            padding=(0, 2),
        )
        for found in line["continuations"]:
            cells = (in_one_line(text) for text in (found["prompt"], text_of(found)))
            table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in cells))
        return table

    def __enter__(self) -> View:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _trend(values: deque[float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in list(values))
