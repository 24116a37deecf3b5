"""Runs stages: names every task by what made it, skips what is done, hands on the outputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine.executors import Executor, Inline, Processes
from skywright.engine.files import stable_hash, sweep_temporary, write_json
from skywright.engine.progress import Progress, silent
from skywright.engine.stage import (
    ERRORS,
    ExchangeStage,
    GatherStage,
    MapStage,
    Shard,
    Stage,
    library_versions,
    source_hash,
)
from skywright.engine.task import RUNS, Task, TaskError, finished

logger = logging.getLogger(__name__)
ExecutorName = Literal["inline", "processes"]


@dataclass(frozen=True)
class Output:
    """The finished tasks of one stage, in the order of its inputs."""

    stage: Stage
    tasks: tuple[Task, ...]
    records: tuple[dict[str, Any], ...]

    def shards(self, table: str) -> list[Shard]:
        """One shard a task for the named output table; keys and meta come from the input."""
        shards = []
        for task, record in zip(self.tasks, self.records, strict=True):
            made = record["outputs"][table]
            first = next((shard for group in task.inputs.values() for shard in group), None)
            mapped = task.kind in ("map", "partition") and first is not None
            shards.append(
                Shard(
                    path=str(task.folder / made["file"]),
                    sha256=made["sha256"],
                    bytes=made["bytes"],
                    rows=made["rows"],
                    key=first.key if mapped and first else f"{task.stage.name}-{task.partition}",
                    meta=first.meta if mapped and first else {},
                )
            )
        return shards

    def read(self, table: str) -> pa.Table:
        """All rows of an output table, in the order of the inputs."""
        return pa.concat_tables([pq.read_table(shard.path) for shard in self.shards(table)])

    def errors(self) -> pa.Table:
        """Records that raised, killed or hung a worker (rowwise stages)."""
        return self.read(ERRORS)

    def rows(self, table: str) -> int:
        """Number of rows of an output table."""
        return sum(record["outputs"][table]["rows"] for record in self.records)

    @property
    def seconds(self) -> float:
        """Work time summed over tasks, as measured when each was made."""
        return float(sum(record["seconds"] for record in self.records))


class Runner:
    """Runs stages under `root`; use as a context manager, so that workers are stopped.

    `executor` is "processes" (the default: all cores) or "inline". `hang_s` is how long a worker
    may say nothing inside a rowwise task.
    """

    def __init__(
        self,
        root: Path,
        executor: ExecutorName = "processes",
        workers: int | None = None,
        progress: Progress = silent,
        hang_s: float = 120.0,
    ) -> None:
        self.root = Path(root)
        self.progress = progress
        self._executor: Executor = Inline() if executor == "inline" else Processes(workers, hang_s)

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.close()

    def map(
        self,
        stage: MapStage,
        shards: Sequence[Shard],
        params: Config,
        side: Mapping[str, Sequence[Shard]] | None = None,
    ) -> Output:
        """One task a shard."""
        return self._run(
            stage, [self._task(stage, "map", params, {"": [shard]}, side) for shard in shards]
        )

    def exchange(
        self,
        stage: ExchangeStage,
        shards: Sequence[Shard],
        params: Config,
        partitions: int = 16,
        side: Mapping[str, Sequence[Shard]] | None = None,
    ) -> Output:
        """One task a shard that sorts its rows by partition, then one task a partition.

        A partition's task is named by the partition's own rows, so that a new shard redoes only
        the partitions that it touches.
        """
        split = self._run(
            stage,
            [
                self._task(stage, "partition", params, {"": [shard]}, None, partitions)
                for shard in shards
            ],
        )
        runs = split.shards(RUNS)
        tasks = []
        for partition in range(partitions):
            content = [record["partitions"][partition] for record in split.records]
            touched = [run for run, part in zip(runs, content, strict=True) if part["rows"]]
            hashes = [part["sha256"] for part in content if part["rows"]]
            tasks.append(
                self._task(
                    stage, "reduce", params, {"": touched or runs[:1]}, side,
                    partitions, partition, {"partition": partition, "content": hashes},
                )
            )  # fmt: skip
        return self._run(stage, tasks)

    def gather(
        self, stage: GatherStage, tables: Mapping[str, Sequence[Shard]], params: Config
    ) -> Output:
        """One task over all shards of the named tables."""
        return self._run(stage, [self._task(stage, "gather", params, tables, None)])

    def _task(
        self,
        stage: Stage,
        kind: str,
        params: Config,
        inputs: Mapping[str, Sequence[Shard]],
        side: Mapping[str, Sequence[Shard]] | None,
        partitions: int = 0,
        partition: int = -1,
        content: Any = None,
    ) -> Task:
        side = side or {}
        identity = {
            "stage": stage.name,
            "version": stage.version,
            "kind": kind,
            "params": params.model_dump(mode="json"),
            "libraries": library_versions(stage.libraries),
            "inputs": content
            or {name: [shard.identity() for shard in group] for name, group in inputs.items()},
            "side": {name: [s.identity() for s in group] for name, group in side.items()},
            "partitions": partitions,
        }
        return Task(
            stage=stage,
            kind=kind,
            key=stable_hash(identity)[:32],
            root=str(self.root),
            params=params,
            inputs={name: tuple(group) for name, group in inputs.items()},
            side={name: tuple(group) for name, group in side.items()},
            partitions=partitions,
            partition=partition,
            source=source_hash(stage.function),
        )

    def _run(self, stage: Stage, tasks: Sequence[Task]) -> Output:
        keys = [task.key for task in tasks]
        if len(set(keys)) != len(keys):
            raise TaskError(f"stage {stage.name!r}: two inputs have the same content and key")
        sweep_temporary(self.root / stage.name)
        records = {task.key: done for task in tasks if (done := finished(task)) is not None}
        for task in tasks:
            done = records.get(task.key)
            if done and done["source"] != task.source:
                logger.warning(
                    "stage %s: the code changed but the version is still %s; "
                    "the stored output is used (raise the version to make it anew)",
                    stage.name, stage.version,
                )  # fmt: skip
                break
        self.progress(len(records), len(tasks), stage.name)
        for task, record in self._executor.run([t for t in tasks if t.key not in records]):
            records[task.key] = record
            self.progress(len(records), len(tasks), stage.name)
        sweep_temporary(self.root / stage.name)  # what workers lost on the way left behind
        manifest = self.root / stage.name / "manifests" / f"{stable_hash(keys)[:16]}.json"
        if not manifest.exists():
            write_json(manifest, {"stage": stage.name, "version": stage.version, "tasks": keys})
        return Output(stage, tuple(tasks), tuple(records[key] for key in keys))
