"""Tasks on Ray: core tasks over the same shards, with placement left to Ray.

Every node must see the same store (a shared folder at the same path, or an object store) and have
the same version of this package. A node that is lost costs the tasks it was at: Ray runs them again
elsewhere, and outputs that were finished are found finished. What remains for this module is what
Ray cannot know: which record of a task kills or hangs its worker.

An actor on the driver's node hears from every worker which batch it is at. A worker that says
nothing for `hang_s` is stopped; one that dies again and again has the batch it was at cut in halves
in fresh workers, as in `executors`.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from skywright.engine.executors import Result, largest_first
from skywright.engine.settings import EngineConfig
from skywright.engine.stage import MapStage
from skywright.engine.task import Task, TaskError, run_task
from skywright.engine.verdicts import HANG, KILLED, after_loss, probe, with_verdicts
from skywright.errors import UserError

WAIT_S = 0.5
RAY_RETRIES = 2  # of a task whose worker or node is lost, before a record is suspected
KNOCK_S = 10
QUEUED_A_CPU = 2  # tasks handed to Ray beyond those that run, so that no core waits for the driver


class _Watch:
    """Hears from workers: which batch of a task they begin, and when that was said here."""

    def __init__(self) -> None:
        self._heard: dict[str, tuple[int, float]] = {}

    def hear(self, key: str, batch: int) -> None:
        self._heard[key] = (batch, time.monotonic())

    def heard(self) -> dict[str, tuple[int, float]]:
        """For each task the batch it is at and for how many seconds nothing was said since."""
        now = time.monotonic()
        return {key: (batch, now - when) for key, (batch, when) in self._heard.items()}

    def forget(self, key: str) -> None:
        self._heard.pop(key, None)


def _work(task: Task, watch: Any) -> tuple[str, Any]:
    """Run a task in a Ray worker; mistakes of the user come back as an answer, not as an error."""
    import pyarrow as pa
    import ray

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)

    def tell(batch: int) -> None:
        # Wait until it is heard: what is still on its way when a worker dies is lost with it.
        ray.get(watch.hear.remote(task.key, batch))

    tell(-1)
    try:
        return "done", run_task(task, tell)
    except UserError as error:
        return "user_error", str(error)


def _try(task: Task, watch: Any, name: str, batch: int, start: int, rows: int) -> None:
    """Do a probe in a Ray worker, and say when it begins."""
    watch.hear.remote(name, 0)
    probe(task, batch, start, rows)


def _knock(address: str) -> None:
    """Raise `OSError` at once where nothing listens: Ray itself tries for five minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()


class OnRay:
    """Runs tasks on the Ray cluster at `ray_address`, or on a local one that it starts."""

    def __init__(self, config: EngineConfig) -> None:
        try:
            import ray
        except ImportError:
            raise UserError(
                "engine ray: the package ray is not installed; "
                "install it with `pip install 'skywright[cluster]'`"
            ) from None
        self._ray, self._hang_s = ray, config.hang_s
        self._started = not ray.is_initialized()
        if self._started:
            self._begin(config)
        self._workers = config.workers
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._watch: Any = ray.remote(_Watch).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(_work).options(num_cpus=1, max_retries=RAY_RETRIES)
        # Once more, because a node that dies under a probe is no fault of the record.
        self._probe = ray.remote(_try).options(num_cpus=1, max_retries=1)

    def _begin(self, config: EngineConfig) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if config.ray_address:
                _knock(config.ray_address)
                self._ray.init(address=config.ray_address, **quiet)
            else:
                self._ray.init(
                    address="local", num_cpus=config.workers, include_dashboard=False, **quiet
                )
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"--ray-address {config.ray_address}: no Ray cluster answers there ({reason}); "
                "start one with `ray start --head`, or leave the option out for a local one"
            ) from None

    def close(self) -> None:
        """Leave the cluster; a local one ends."""
        if self._started and self._ray.is_initialized():
            self._ray.shutdown()

    def _places(self) -> int:
        """How many tasks are handed to Ray at once; a cluster may grow meanwhile."""
        cpus = int(self._ray.cluster_resources().get("CPU", 1))
        return self._workers or max(1, cpus) * QUEUED_A_CPU

    def run(self, tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield (task, done record) as tasks finish; raises TaskError or UserError."""
        waiting = deque(with_verdicts(task) for task in largest_first(tasks))
        running: dict[Any, Task] = {}
        losses: dict[str, int] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._places():
                    task = waiting.popleft()
                    running[self._task.remote(task, self._watch)] = task
                ready, _ = self._ray.wait(list(running), timeout=WAIT_S)
                hanging = self._hanging(running) if not ready else []
                for reference in [*ready, *hanging]:
                    task = running.pop(reference)
                    how = HANG if reference in hanging else KILLED
                    record = None if reference in hanging else self._result(task, reference)
                    if record is not None:
                        yield task, record
                        continue
                    batch, _ = self._heard().get(task.key, (-1, 0.0))
                    losses[task.key] = losses.get(task.key, 0) + 1
                    again = after_loss(task, batch, how, losses[task.key], self._survives)
                    self._ray.get(self._watch.forget.remote(task.key))
                    waiting.appendleft(again)
        finally:
            for reference in running:  # nobody asks for these any more
                self._ray.cancel(reference, force=True)

    def _heard(self) -> dict[str, tuple[int, float]]:
        return self._ray.get(self._watch.heard.remote())

    def _hanging(self, running: dict[Any, Task]) -> list[Any]:
        """Tasks whose worker has said nothing for `hang_s`; their workers are stopped."""
        heard = self._heard()
        found = []
        for reference, task in running.items():
            batch, silent_s = heard.get(task.key, (-1, 0.0))
            rowwise = isinstance(task.stage, MapStage) and task.stage.rowwise
            if rowwise and batch >= 0 and silent_s > self._hang_s:
                self._ray.cancel(reference, force=True)
                found.append(reference)
        return found

    def _result(self, task: Task, reference: Any) -> dict[str, Any] | None:
        """The done record, or None when the worker was lost."""
        errors = self._ray.exceptions
        try:
            kind, value = self._ray.get(reference)
        except (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
            errors.TaskCancelledError,
        ):
            return None
        except errors.RayTaskError as error:
            raise TaskError(f"{task.label} failed:\n{error}") from None
        if kind == "user_error":
            raise UserError(value)
        return dict(value)

    def _survives(self, task: Task, batch: int, start: int, rows: int) -> str | None:
        """How a worker of its own is lost on some rows; None if it is not."""
        errors = self._ray.exceptions
        name = f"probe-{uuid.uuid4().hex}"
        reference = self._probe.remote(task, self._watch, name, batch, start, rows)
        while not self._ray.wait([reference], timeout=WAIT_S)[0]:
            if self._heard().get(name, (0, 0.0))[1] > self._hang_s:
                self._ray.cancel(reference, force=True)
                return HANG
        try:
            self._ray.get(reference)
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            return KILLED
        except errors.RayTaskError:
            return None  # it raised: that is for the task itself to say
        return None
