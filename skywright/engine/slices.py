"""Independent workers over one store, without a service between them.

Every worker runs the same stages and knows the same tasks. A task belongs to the living worker that
scores highest in a hash of task and worker (rendezvous hashing), so that all agree without a word,
and the tasks of one that dies are spread over the rest while no other task moves. A worker does its
own, then waits for the others' done records: that is the barrier between stages.

A worker that lives counts up a number in a note of its own. Whoever waits for it watches the number
by its own clock: one that has stood still for the lease belongs to a dead worker. If that was wrong
(a machine frozen for longer), a task is done twice, and the first done record counts.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from skywright.engine.executors import Executor, Result
from skywright.engine.settings import Slice
from skywright.engine.store import Store
from skywright.engine.task import Task

POLL_S = 1.0
BEATS_A_LEASE = 5


def note_name(number: int) -> str:
    """Where a worker says that it lives."""
    return f"slices/{number}.json"


def owner(key: str, living: Sequence[int]) -> int:
    """The worker, of those that live, to which a task belongs."""

    def score(number: int) -> bytes:
        return hashlib.blake2b(f"{key} {number}".encode(), digest_size=8).digest()

    return max(living, key=score)


class _Others:
    """What this worker has seen of the others."""

    def __init__(self, store: Store, mine: Slice) -> None:
        self._store, self._mine = store, mine
        self._numbers = [n for n in range(1, mine.count + 1) if n != mine.number]
        now = time.monotonic()
        self._seen: dict[int, tuple[object, float]] = dict.fromkeys(self._numbers, (None, now))

    def look(self) -> list[int]:
        """The living workers, this one among them. One not seen yet has a lease to appear."""
        living = [self._mine.number]
        for number in self._numbers:
            beat = self._store.read_note(note_name(number))
            if beat != self._seen[number][0]:
                self._seen[number] = (beat, time.monotonic())
            if time.monotonic() - self._seen[number][1] < self._mine.lease_s:
                living.append(number)
        return living


class Sliced:
    """An executor that does a worker's share with another executor and waits for the rest."""

    def __init__(self, inner: Executor, store: Store, mine: Slice) -> None:
        self._inner, self._store, self._mine = inner, store, mine
        self._others = _Others(store, mine)
        self._stopped = threading.Event()
        self._beat(0)
        threading.Thread(target=self._live, daemon=True).start()

    def _beat(self, count: int) -> None:
        who = {"host": socket.gethostname(), "pid": os.getpid(), "beat": count}
        self._store.write_note(note_name(self._mine.number), who)

    def _live(self) -> None:
        count = 0
        while not self._stopped.wait(self._mine.lease_s / BEATS_A_LEASE):
            count += 1
            try:
                self._beat(count)
            except OSError:
                continue  # a file server that is away for a while: the next beat will tell

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield every task, done here or elsewhere, with its done record."""
        everyone = range(1, self._mine.count + 1)
        left = {task.key: task for task in tasks}
        mine = [t for t in tasks if owner(t.key, everyone) == self._mine.number]
        while left:
            for task, record in self._inner.run(mine):
                del left[task.key]
                yield task, record
            names = {task.name: task for task in left.values()}
            for name, record in self._store.records(list(names)).items():
                yield left.pop(names[name].key), record
            if left:
                living = self._others.look()
                mine = [t for t in left.values() if owner(t.key, living) == self._mine.number]
                if not mine:
                    time.sleep(min(POLL_S, self._mine.lease_s / BEATS_A_LEASE))

    def close(self) -> None:
        """Stop the workers and fall silent."""
        self._stopped.set()
        self._inner.close()
