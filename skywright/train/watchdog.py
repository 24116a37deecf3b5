"""Ends a process that hangs, leaving the stack of every thread."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

HANG_EXIT = 124
"""Exit status of a run that its watchdog ended; the same as that of timeout(1)."""


class Watchdog:
    """While the block runs, `beat` must be called at least every `after_s` seconds.

    If it is not, the stacks of all threads go to the file `stacks` and to standard error, and the
    process exits at once with `HANG_EXIT`: nothing is saved, the last checkpoint stands. None
    never watches. (A thread that holds Python's lock for ever would hold the watchdog up too;
    waiting for a network, a disk or a kernel does not.)
    """

    def __init__(self, after_s: float | None, stacks: Path) -> None:
        self._after_s, self._stacks = after_s, stacks
        self._last = time.monotonic()
        self._over = threading.Event()

    def beat(self) -> None:
        """All is well."""
        self._last = time.monotonic()

    def __enter__(self) -> Watchdog:
        self.beat()
        if self._after_s is not None:
            threading.Thread(target=self._watch, args=(self._after_s,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()

    def _watch(self, after_s: float) -> None:
        while not self._over.wait(min(1.0, after_s / 4)):
            silent_s = time.monotonic() - self._last
            if silent_s > after_s:
                self._end(silent_s)

    def _end(self, silent_s: float) -> None:
        with contextlib.suppress(OSError), open(self._stacks, "w", encoding="utf-8") as stream:
            faulthandler.dump_traceback(stream, all_threads=True)
        stderr = sys.__stderr__
        if stderr is not None:
            faulthandler.dump_traceback(stderr, all_threads=True)
            print(
                f"error: no step for {silent_s:.0f} s (train.hang_after); the stacks above are in "
                f"{self._stacks} too; run the same command again to go on",
                file=stderr,
                flush=True,
            )
        os._exit(HANG_EXIT)
