"""Records that kill or hang a worker: found by halving, remembered, replayed.

The verdict on a task's records is stored beside its output, so that a rerun, anywhere, leaves the
same records out and gives the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from skywright.engine.stage import MapStage
from skywright.engine.task import Task, TaskError, apply_rows, batches, here, side_tables

ATTEMPTS = 3  # of a task whose worker dies for no record's fault
KILLED, HANG = "error:killed", "error:hang"
Survives = Callable[[Task, int, int, int], str | None]
"""survives(task, batch, start, rows): None, or how a fresh worker was lost on those rows."""


def _note(task: Task) -> str:
    return f"{task.stage.name}/verdicts/{task.key}.json"


def with_verdicts(task: Task) -> Task:
    """The task, told of the records that an earlier run found to kill or hang a worker."""
    found = task.store.read_note(_note(task))
    return replace(task, skip=found) if found else task


def probe(task: Task, batch_index: int, start: int, rows: int) -> None:
    """Apply the stage to some rows of one batch and forget the result."""
    assert isinstance(task.stage, MapStage)
    with here(task) as (local, _):
        batch = next(islice(batches(local), batch_index, None))
    rows_of = batch.slice(start, rows)
    apply_rows(task.stage, rows_of, task.params, side_tables(task), dict(task.skip))


def after_loss(task: Task, batch: int, how: str, attempt: int, survives: Survives) -> Task:
    """The task as it is to be run again, after its worker was lost at a batch (-1: at none).

    Raises TaskError when the `ATTEMPTS`th worker is lost and no single record is to blame.
    """
    found: dict[str, str] = {}
    if isinstance(task.stage, MapStage) and task.stage.rowwise and batch >= 0:
        found = _culprits(task, batch, survives)
    if not found and attempt >= ATTEMPTS:
        raise TaskError(
            f"{task.label}: the worker was lost {attempt} times ({how}), at batch {batch}, "
            "and no single record does it; look at the machine's memory"
        )
    if found:
        task = replace(task, skip={**task.skip, **found})
        task.store.write_note(_note(task), dict(task.skip))
    return task


def _culprits(task: Task, batch_index: int, survives: Survives) -> dict[str, str]:
    """Records of one batch that kill or hang a worker, each by itself."""
    with here(task) as (local, _):
        rows = next(islice(batches(local), batch_index, None))
    found: dict[str, str] = {}
    queue = deque([(0, rows.num_rows)])
    while queue:
        start, count = queue.popleft()
        how = survives(task, batch_index, start, count)
        if how is None:
            continue
        if count == 1:
            # Twice, because a machine that stood still, or a node that died, is no record's fault.
            if survives(task, batch_index, start, count) is None:
                continue
            found[rows["record"][start].as_py()] = how
        else:
            half = count // 2
            queue += [(start, half), (start + half, count - half)]
    return found
