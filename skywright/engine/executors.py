"""Where tasks run: in this process, or in a pool of worker processes that may die.

`processes` watches its workers. When one is killed, or says nothing for `hang_s` seconds inside a
rowwise task, the batch it was working on is cut in halves in fresh processes until the records
that do it are found. The verdict is stored, and the task runs again without them; a later run
replays the verdict, so that it gives the same bytes on any machine.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import pyarrow as pa

from skywright.engine.stage import MapStage
from skywright.engine.task import Task, TaskError, run_task
from skywright.engine.verdicts import HANG, KILLED, after_loss, probe, with_verdicts
from skywright.errors import UserError

Result = tuple[Task, dict[str, Any]]


class Executor(Protocol):
    """Runs tasks in any order and yields each with its done record."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]: ...

    def close(self) -> None: ...


def largest_first(tasks: Sequence[Task]) -> list[Task]:
    """The order in which workers are busy to the end: a large task begun last keeps all waiting."""
    return sorted(tasks, key=lambda task: -task.input_bytes)


class Inline:
    """Runs every task in this process: for tests and debugging; a killer record kills it."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        for task in tasks:
            yield task, run_task(with_verdicts(task))

    def close(self) -> None:
        """Nothing to close."""


# ---------------------------------------------------------------- the worker's side


def exit_with_parent(parent: int) -> None:
    """Let this worker process end when its parent is no more."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)  # a poll: the death of a parent sends no event here
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(connection: Connection, parent: int) -> None:
    exit_with_parent(parent)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    while True:
        try:
            task, rows = connection.recv()
        except (EOFError, OSError):
            return
        answer: tuple[str, Any]
        try:
            if rows is None:
                answer = ("done", run_task(task, lambda batch: connection.send(("batch", batch))))
            else:
                probe(task, *rows)
                answer = ("done", {})
        except UserError as error:
            answer = ("user_error", str(error))
        except BaseException:
            answer = ("failed", traceback.format_exc())
        try:
            connection.send(answer)
        except (BrokenPipeError, OSError):
            return


# ---------------------------------------------------------------- the parent's side


class _Worker:
    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_worker, args=(theirs, os.getpid()), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.batch = -1
        self.heard = time.monotonic()

    def start(self, task: Task, rows: tuple[int, int, int] | None = None) -> None:
        self.task, self.batch, self.heard = task, -1, time.monotonic()
        self.connection.send((task, rows))

    def stop(self) -> None:
        self.connection.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


class Processes:
    """A pool of spawned worker processes; `workers` defaults to the number of cores."""

    def __init__(self, workers: int | None = None, hang_s: float = 120.0) -> None:
        self.workers = workers or os.cpu_count() or 1
        self.hang_s = hang_s
        self._pool: list[_Worker] = []

    def close(self) -> None:
        """Stop all workers."""
        for worker in self._pool:
            worker.stop()
        self._pool.clear()

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield (task, done record) as tasks finish; raises TaskError or UserError."""
        waiting = deque(with_verdicts(task) for task in largest_first(tasks))
        attempts: dict[str, int] = {}
        try:
            while waiting or any(worker.task for worker in self._pool):
                self._fill(waiting)
                for worker, event in self._events():
                    task = worker.task
                    if task is None:
                        continue
                    if event is None:
                        batch, how = worker.batch, self._remove(worker)
                        attempts[task.key] = attempts.get(task.key, 0) + 1
                        again = after_loss(task, batch, how, attempts[task.key], self._survives)
                        waiting.appendleft(again)
                    elif event[0] == "batch":
                        worker.batch = event[1]
                    else:
                        worker.task = None
                        yield task, _answer(task, event)
        except BaseException:
            self.close()  # workers still at work would answer a question nobody asks any more
            raise

    def _fill(self, waiting: deque[Task]) -> None:
        busy = sum(worker.task is not None for worker in self._pool)
        wanted = min(self.workers, busy + len(waiting))
        while len(self._pool) < wanted:
            self._pool.append(_Worker())
        for worker in self._pool:
            if waiting and worker.task is None:
                worker.start(waiting.popleft())

    def _events(self) -> list[tuple[_Worker, tuple[str, Any] | None]]:
        """What busy workers say next; None stands for a worker that is lost (dead or hanging)."""
        busy = [worker for worker in self._pool if worker.task]
        ready = set(wait([worker.connection for worker in busy], timeout=0.5))
        events: list[tuple[_Worker, tuple[str, Any] | None]] = []
        for worker in busy:
            if worker.connection in ready:
                worker.heard = time.monotonic()
                try:
                    events.append((worker, worker.connection.recv()))
                except (EOFError, OSError):
                    events.append((worker, None))
            elif self._hangs(worker) or not worker.process.is_alive():
                events.append((worker, None))
        return events

    def _hangs(self, worker: _Worker) -> bool:
        rowwise = worker.task and isinstance(worker.task.stage, MapStage)
        return bool(rowwise) and time.monotonic() - worker.heard > self.hang_s

    def _remove(self, worker: _Worker) -> str:
        how = HANG if self._hangs(worker) else KILLED
        self._pool.remove(worker)
        worker.stop()
        return how

    def _survives(self, task: Task, batch_index: int, start: int, count: int) -> str | None:
        worker = _Worker()
        try:
            worker.start(task, (batch_index, start, count))
            if not worker.connection.poll(self.hang_s):
                return HANG
            try:
                worker.connection.recv()
            except (EOFError, OSError):
                return KILLED
            return None
        finally:
            worker.stop()


def _answer(task: Task, event: tuple[str, Any]) -> dict[str, Any]:
    kind, value = event
    if kind == "user_error":
        raise UserError(value)
    if kind == "failed":
        raise TaskError(f"{task.label} failed:\n{value}")
    return value
