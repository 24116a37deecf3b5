"""Signals that ask a run to save or to stop; it does so between two steps."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
SAVING = signal.SIGUSR1

SAME_REQUEST_S = 5.0
"""A signal to stop that follows another one so soon says the same again. A scheduler may signal
every process of a job, and torchrun hands on to its processes what it gets: Slurm 22.05 with
proctrack/linuxproc reached each process twice, up to a second apart."""


class Stopped(SystemExit):
    """A run that was asked to stop has saved and stops; the exit status is 128 + the signal's
    number, as shells have it: 130 for SIGINT, 143 for SIGTERM, 140 for SIGUSR2 (on Linux)."""

    def __init__(self, asked: signal.Signals) -> None:
        super().__init__(128 + asked)


@dataclass
class Requests:
    """What signals have asked for since the loop last looked."""

    stop: signal.Signals | None = None
    save: bool = False

    def take(self) -> tuple[signal.Signals | None, bool]:
        """What was asked for, read once: the signal to stop if any, and whether to save."""
        save, self.save = self.save, False
        return self.stop, save


@contextmanager
def listening() -> Iterator[Requests]:
    """Requests while the block runs; then the former handlers are back.

    SIGTERM, SIGINT and SIGUSR2 ask to save and stop, SIGUSR1 to save and go on. A second request
    to stop, `SAME_REQUEST_S` after the first or later, acts at once, as if nobody listened. Python
    gives signals to the main thread alone: in another one nothing is ever asked for.
    """
    requests = Requests()
    first_s = 0.0  # of the monotonic clock
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        if asked is SAVING:
            requests.save = True
            return
        nonlocal first_s
        if requests.stop is not None:
            if time.monotonic() - first_s >= SAME_REQUEST_S:
                restore()
                signal.raise_signal(asked)
            return
        requests.stop, first_s = asked, time.monotonic()
        os.write(2, f"{asked.name}: saving and stopping after this step\n".encode())

    former = {number: signal.signal(number, note) for number in (*STOPPING, SAVING)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    try:
        yield requests
    finally:
        restore()
