"""Runs stages: names every task by what made it, skips what is done, hands on the outputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.engine.builds import Builds
from skywright.engine.exchange import segment_shard
from skywright.engine.executors import Executor, Inline, Processes
from skywright.engine.files import sha256_file, stable_hash
from skywright.engine.progress import Progress, silent
from skywright.engine.settings import EngineConfig, ExecutorName, engine_of
from skywright.engine.slices import Sliced
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
from skywright.engine.store import ObjectStore, Store, fetch, open_store
from skywright.engine.task import RUNS, Task, TaskError
from skywright.errors import UserError

logger = logging.getLogger(__name__)
EXCHANGE_FORMAT = 2  # of run files and their index; it takes part in the names of their tasks


@dataclass(frozen=True)
class Output:
    """The finished tasks of one stage, in the order of its inputs."""

    stage: Stage
    tasks: tuple[Task, ...]
    records: tuple[dict[str, Any], ...]
    copies: Path | None = None

    def here(self, folder: Path) -> Output:
        """The same output with its shards on this machine, copied to `folder` where need be."""
        return replace(self, copies=folder)

    def shards(self, table: str) -> list[Shard]:
        """One shard a task for the named output table; keys and meta come from the input."""
        shards = []
        for task, record in zip(self.tasks, self.records, strict=True):
            made = record["outputs"][table]
            first = next((shard for group in task.inputs.values() for shard in group), None)
            mapped = task.kind in ("map", "partition") and first is not None
            path = task.store.place(f"{task.name}/{made['file']}")
            shards.append(
                Shard(
                    path=fetch(path, self.copies) if self.copies else path,
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

    def bytes(self, table: str) -> int:
        """Size of an output table, packed."""
        return sum(record["outputs"][table]["bytes"] for record in self.records)

    @property
    def seconds(self) -> float:
        """Work time summed over tasks, as measured when each was made."""
        return float(sum(record["seconds"] for record in self.records))


def _executor(config: EngineConfig, store: Store) -> Executor:
    inner: Executor
    if config.executor == "inline":
        inner = Inline()
    elif isinstance(store, ObjectStore) and not store.shared:
        raise UserError(
            f"{store.root}: is one process's own memory, which workers cannot see; run inline"
        )
    elif config.executor == "ray":
        from skywright.engine.cluster import OnRay

        inner = OnRay(config)
    else:
        inner = Processes(config.workers, config.hang_s)
    return Sliced(inner, store, config.slice) if config.slice else inner


class Runner:
    """Runs stages under `root`; use as a context manager, so that workers are stopped.

    `root` is a folder or an fsspec address. `executor` is "processes" (the default: all cores),
    "inline", "ray", or a whole `EngineConfig`; `hang_s` is how long a worker may say nothing inside
    a rowwise task. `build` names the whole that the stages are parts of, for `garbage`.
    """

    def __init__(
        self,
        root: Path | str,
        executor: ExecutorName | EngineConfig = "processes",
        workers: int | None = None,
        progress: Progress = silent,
        hang_s: float = 120.0,
        build: str | None = None,
    ) -> None:
        self.store = open_store(str(root))
        self.progress = progress
        if isinstance(self.store, ObjectStore):
            self.store.check()
        self._builds = Builds(self.store, build) if build else None
        self._held = self.store.held()
        self._executor = _executor(engine_of(executor, workers, hang_s), self.store)

    @property
    def root(self) -> Path:
        """The folder of the outputs; UserError where they stand on an object store."""
        if isinstance(self.store, ObjectStore):
            raise UserError(f"{self.store.root}: this step needs a folder for its stages")
        return Path(self.store.root)

    def __enter__(self) -> Runner:
        self._held.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.close()
        if self._builds and error is None:
            self._builds.finish()
        self._held.__exit__(kind, error, trace)

    def constant(self, name: str, table: pa.Table, content: Any) -> Shard:
        """A small table made by the caller, as a shard to give to tasks; `content` names it."""
        output = f"{name}/{stable_hash(content)[:32]}"

        def make(folder: Path) -> dict[str, Any]:
            path = folder / f"{name}.parquet"
            pq.write_table(table, path, compression="zstd")
            made = {"file": path.name, "sha256": sha256_file(path), "bytes": path.stat().st_size}
            return {"outputs": {name: made}}

        made = self.store.publish(output, make)["outputs"][name]
        place = self.store.place(f"{output}/{made['file']}")
        return Shard(place, made["sha256"], made["bytes"], table.num_rows, name)

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
            segments = [
                segment_shard(run, record["runs"], partition)
                for run, record in zip(runs, split.records, strict=True)
            ]
            touched = [segment for segment in segments if segment.sha256]
            content = {"partition": partition, "content": [segment.sha256 for segment in touched]}
            tasks.append(
                self._task(
                    stage, "reduce", params, {"": touched or segments[:1]}, side,
                    partitions, partition, content,
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
            **({"format": EXCHANGE_FORMAT} if partitions else {}),
        }
        return Task(
            stage=stage,
            kind=kind,
            key=stable_hash(identity)[:32],
            root=self.store.root,
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
        self.store.sweep(stage.name)
        self._note(stage, keys)
        done = self.store.records([task.name for task in tasks])
        records = {task.key: done[task.name] for task in tasks if task.name in done}
        self._warn_of_changed_code(stage, tasks, records)
        self.progress(len(records), len(tasks), stage.name)
        for task, record in self._executor.run([t for t in tasks if t.key not in records]):
            records[task.key] = record
            self.progress(len(records), len(tasks), stage.name)
        self.store.sweep(stage.name)  # what workers lost on the way left behind
        return Output(stage, tuple(tasks), tuple(records[key] for key in keys))

    def _note(self, stage: Stage, keys: Sequence[str]) -> None:
        """Write the manifest of this call: before its tasks run, so that `garbage` spares them."""
        manifest = f"{stage.name}/manifests/{stable_hash(list(keys))[:16]}.json"
        if self.store.read_note(manifest) is None:
            content = {"stage": stage.name, "version": stage.version, "tasks": list(keys)}
            self.store.write_note(manifest, content)
        if self._builds:
            self._builds.add(manifest)

    @staticmethod
    def _warn_of_changed_code(
        stage: Stage, tasks: Sequence[Task], records: Mapping[str, dict[str, Any]]
    ) -> None:
        if any(t.key in records and records[t.key]["source"] != t.source for t in tasks):
            logger.warning(
                "stage %s: the code changed but the version is still %s; "
                "the stored output is used (raise the version to make it anew)",
                stage.name, stage.version,
            )  # fmt: skip
