"""Signals that ask a run to save or to stop; it does so between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
SAVING = signal.SIGUSR1


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

    SIGTERM, SIGINT and SIGUSR2 ask to save and stop, SIGUSR1 to save and go on. After the first
    request to stop the former handlers are back too, so that a second one acts at once. Python
    gives signals to the main thread alone: in another one nothing is ever asked for.
    """
    requests = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked = signal.Signals(number)
        if asked is SAVING:
            requests.save = True
            return
        requests.stop = asked
        restore()
        os.write(2, f"{asked.name}: saving and stopping after this step\n".encode())

    former = {number: signal.signal(number, note) for number in (*STOPPING, SAVING)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    try:
        yield requests
    finally:
        restore()
