"""Copies of what stands already: one corpus against others, which are read and not changed.

The new documents are judged by the rule of `rule.py` with all older ones ranked before them: so
an older document always stays, and a new one goes in favour of an old one or of a better new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus.config import DuplicatesConfig
from skywright.corpus.dedup.best import RANK_BYTES, ranks
from skywright.corpus.dedup.columns import fixed_bytes, fixed_column
from skywright.corpus.dedup.near import NearCopies, Standing, near_copies
from skywright.corpus.dedup.proposals import read_group
from skywright.corpus.joined import join
from skywright.corpus.schemas import ID
from skywright.engine.files import atomic_open, sweep_temporary
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import ExecutorName, Runner
from skywright.engine.stage import MapStage, Shard, Tables, file_shard
from skywright.errors import UserError

OLD, NEW = 0, 1  # generations
DROPPED = "dropped.parquet"
PARTITIONS = 16

RANKED_SCHEMA = pa.schema([("record", pa.string()), ("id", ID), ("rank", pa.binary(RANK_BYTES))])


class RankParams(Config):
    """The generation of the documents, and the priority of each source (0 where not named)."""

    generation: int
    priorities: dict[str, int] = {}


@dataclass(frozen=True)
class Counts:
    """documents of the new corpus, dropped of them, rounds it took, whether it settled."""

    documents: int
    dropped: int
    rounds: int
    settled: bool


# ---------------------------------------------------------------- ranks


def read_plain(shard: Shard, params: Config) -> Iterator[pa.Table]:
    """Reader: the documents of a Parquet file with `id` and `text`, row group by row group."""
    with pq.ParquetFile(shard.path) as file:
        there = file.schema_arrow.names
        wanted = ("id", "text", *(name for name in ("date", "source") if name in there))
        begin = 0
        for group in range(file.num_row_groups):
            rows = read_group(file, group, wanted, shard.key, begin)
            begin += rows.num_rows
            yield rows


def rank_documents(batch: pa.Table, params: Config, side: Tables) -> Tables:
    """The rank of each document."""
    params = cast(RankParams, params)
    missing = [None] * batch.num_rows
    dates, sources = (
        batch[name].to_pylist() if name in batch.column_names else missing
        for name in ("date", "source")
    )
    found = ranks(
        np.array([params.priorities.get(source or "", 0) for source in sources], np.int64),
        pc.utf8_length(batch["text"]).to_numpy(), dates, fixed_bytes(batch["id"]),
        params.generation,
    )  # fmt: skip
    return {"ranked": batch.select(["record", "id"]).append_column("rank", fixed_column(found))}


RANKS = MapStage(
    "dedup_ranks", "1", rank_documents, {"ranked": RANKED_SCHEMA}, read_plain, batch_rows=1024
)


def document_shards(folder: Path, name: str) -> list[Shard]:
    """The Parquet files of documents of a corpus (its folder, its `documents` folder, or the `data`
    of a release).

    Raises `UserError` if there are none, or if one has no `id` of 16 bytes or no `text`.
    """
    folder = Path(folder)
    inner = (folder / name for name in ("documents", "data"))
    files = sorted(next((f for f in inner if f.is_dir()), folder).glob("*.parquet"))
    if not files:
        raise UserError(
            f"{folder}: no Parquet files of documents there, nor in `documents` or `data` below it;"
            " give a corpus's folder, or a release made with `--to parquet`"
        )
    for path in files:
        schema = pq.read_schema(path)
        for column, kind in (("id", "16 bytes"), ("text", "text")):
            if column not in schema.names or (column == "id" and schema.field("id").type != ID):
                there = schema.field(column).type if column in schema.names else "missing"
                raise UserError(
                    f"{path}: the field {column!r} must be {kind}, and is {there}; give documents "
                    "as `skywright corpus build` writes them, or build a corpus of this file first"
                )
    return [file_shard(path, f"{name}/{path.name}") for path in files]


# ---------------------------------------------------------------- what stays


def ranked_shards(
    runner: Runner, shards: Sequence[Shard], generation: int, priorities: dict[str, int]
) -> list[Shard]:
    """Documents joined with their ranks, as `near_copies` reads them."""
    params = RankParams(generation=generation, priorities=priorities)
    return join(shards, runner.map(RANKS, shards, params).shards("ranked"))


def subtract(
    new: Path,
    against: Sequence[Path],
    out: Path,
    config: DuplicatesConfig | None = None,
    within: bool = True,
    priorities: dict[str, int] | None = None,
    partitions: int = PARTITIONS,
    executor: ExecutorName = "processes",
    progress: Progress = silent,
) -> Counts:
    """Write to `out` the documents of `new` that are no near copies of one in `against`.

    With `within`, copies among the new documents go too. `out/documents` gets a file for each file
    of `new`, the same rows in the same order less what goes; `out/dropped.parquet` says what went,
    in favour of which document and how like it is. Copies equal but for punctuation, case or
    spacing have similarity 1. The work stands in `out/stages`, so that doing it again, or against
    one corpus more, does only what is missing. Raises `UserError` for folders without documents.
    """
    out = Path(out)
    fresh = document_shards(new, "new")
    old = [s for i, folder in enumerate(against) for s in document_shards(folder, f"old{i}")]
    with Runner(out / "stages", executor, progress=progress) as runner:
        documents = ranked_shards(runner, fresh, NEW, priorities or {})
        standing = ranked_shards(runner, old, OLD, {})
        found = near_copies(
            runner, [*standing, *documents], config or DuplicatesConfig(), partitions,
            standing=Standing(generation=NEW, within=within),
        )  # fmt: skip
    return publish(fresh, found, out)


def publish(fresh: Sequence[Shard], found: NearCopies, out: Path) -> Counts:
    """Write the documents that stay and the list of those that go."""
    dropped = found.outputs["near_duplicates"].read("dropped").sort_by("record")
    gone = dropped["record"].combine_chunks()
    count = 0
    (out / "documents").mkdir(parents=True, exist_ok=True)
    sweep_temporary(out / "documents")
    for shard in fresh:
        name = Path(shard.path).name
        with pq.ParquetFile(shard.path) as file, atomic_open(out / "documents" / name) as stream:
            columns = tuple(file.schema_arrow.names)
            with pq.ParquetWriter(stream, file.schema_arrow, compression="zstd") as writer:
                begin = 0
                for group in range(file.num_row_groups):
                    rows = read_group(
                        file, group, tuple(c for c in columns if c != "record"), shard.key, begin
                    )
                    begin += rows.num_rows
                    stay = pc.invert(pc.is_in(rows["record"], value_set=gone))
                    writer.write_table(rows.filter(stay).select(columns))
        count += begin
    with atomic_open(out / DROPPED) as stream:
        pq.write_table(dropped, stream, compression="zstd")
    return Counts(count, dropped.num_rows, found.rounds, found.settled)
