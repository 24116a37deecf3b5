"""Corpus documents to token shards: in parallel, streaming, the same bytes every time.

A task reads some row groups of one Parquet file and writes one shard for each source that its
documents reach. Its folder is named by a hash of all that makes it and is reused whenever the
same task comes up again: one more input file adds its own tasks and touches no other.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.engine.executors import exit_with_parent
from skywright.engine.files import (
    atomic_folder,
    read_json,
    sha256_file,
    stable_hash,
    sweep_temporary,
    write_json,
)
from skywright.engine.progress import Progress, silent
from skywright.errors import UserError
from skywright.tokens.config import TokensConfig, quality_bin_of
from skywright.tokens.manifest import (
    KINDS,
    MANIFEST,
    Manifest,
    ShardEntry,
    SourceManifest,
    read_manifest,
)
from skywright.tokens.shards import Shards
from skywright.tokens.writer import ShardWriter, Vocabulary, frame, open_shard

FORMAT = 2  # raised when the same inputs would give other bytes
_COLUMNS = ("source", "lang", "text")
_BATCH_ROWS = 512  # documents tokenised together; no influence on the bytes written
_DONE = "task.json"


class Encoder(Vocabulary, Protocol):
    """What `build` needs of a tokenizer. It is sent to worker processes."""

    def encode_column(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts one after another, and where each begins, shape (texts + 1,)."""
        ...


@dataclass(frozen=True)
class _Task:
    """Some row groups of one file, tokenised for every source; picklable."""

    config: TokensConfig
    path: Path
    groups: tuple[int, ...]
    rows: int
    first_row: int
    key: str
    folder: Path


def build(
    config: TokensConfig,
    documents: Sequence[Path],
    tokenizer: Encoder,
    out: Path,
    progress: Progress = silent,
    tasks: Path | None = None,
    workers: int = 1,
) -> Manifest:
    """Tokenise Parquet documents (columns source, lang, text) into shards in the folder `out`.

    Files are read in the order of their names and rows in the order they stand, whatever the
    order of the list and the number of `workers` (processes). Finished tasks are kept in
    `tasks` (default: inside `out`), and `out` links to their files. If `out` already holds what
    these inputs make, nothing is done. A stop at any moment leaves no manifest; running again
    gives the same bytes. Raises UserError for files that cannot be read, ids outside the
    vocabulary, or a source that no document reaches.
    """
    out = Path(out)
    paths = sorted((Path(path) for path in documents), key=lambda path: (path.name, str(path)))
    if not paths:
        raise UserError("tokens: there are no documents to tokenise; build the corpus first")
    columns = _columns(config)
    checked = {path: _checked(path, columns) for path in paths}
    made_from = stable_hash(
        {
            "format": FORMAT,
            "config": config.naming() | {"shard_bytes": config.shard_bytes},
            "tokenizer": tokenizer.fingerprint,
            "documents": [[path.name, checked[path]] for path in paths],
        }
    )
    if (out / MANIFEST).exists():
        standing = read_manifest(out / MANIFEST)
        if standing.made_from != made_from:
            raise UserError(
                f"{out / MANIFEST}: made_from: this folder holds tokens of other documents,"
                " another tokenizer or other settings; give a new folder or remove this one"
            )
        Shards.open(out, tokenizer.fingerprint)
        return standing
    root = tasks or out / "tasks"
    todo = [task for path in paths for task in _tasks(config, path, checked[path], tokenizer, root)]
    sweep_temporary(root)
    done = _run(todo, tokenizer, workers, progress)
    manifest = Manifest(
        made_from=made_from,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        bos_id=tokenizer.bos_id,
        eos_id=tokenizer.eos_id,
        sources=_sources(config, todo, done, out),
        unused=dict(sorted(sum((Counter(d["unused"]) for d in done), Counter()).items())),
        inputs={path.name: checked[path] for path in paths},
    )
    write_json(out / MANIFEST, manifest.model_dump(mode="json"))
    if tasks is None:
        shutil.rmtree(root)
    return manifest


def _columns(config: TokensConfig) -> tuple[str, ...]:
    """The columns of documents that are read: `meta` only where sources ask for a quality."""
    return (*_COLUMNS, "meta") if config.by_quality else _COLUMNS


def _checked(path: Path, columns: Sequence[str]) -> str:
    """SHA-256 of a Parquet file that has these columns."""
    try:
        schema = pq.read_schema(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; build the corpus first") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file ({error})") from None
    missing = [name for name in columns if name not in schema.names]
    if missing:
        raise UserError(
            f"{path}: the column {missing[0]!r} is missing; documents need {', '.join(columns)}"
        )
    return sha256_file(path)


# ---------------------------------------------------------------- tasks


def _tasks(
    config: TokensConfig, path: Path, sha256: str, tokenizer: Encoder, root: Path
) -> Iterator[_Task]:
    """The file cut into runs of row groups of about `config.shard_bytes` of data."""
    with pq.ParquetFile(path) as file:
        metadata = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
    groups: list[int] = []
    rows = size = first_row = 0
    for group, told in enumerate(metadata):
        groups.append(group)
        rows += told.num_rows
        size += told.total_byte_size
        if size < config.shard_bytes and group + 1 < len(metadata):
            continue
        # How sources are cut into tasks is no part of what a task makes.
        key = stable_hash([FORMAT, config.naming(), tokenizer.fingerprint, sha256, groups])[:24]
        yield _Task(config, path, tuple(groups), rows, first_row, key, root / key)
        first_row += rows
        groups, rows, size = [], 0, 0


def _run(
    tasks: Sequence[_Task], tokenizer: Encoder, workers: int, progress: Progress
) -> list[dict[str, Any]]:
    """The done records of all tasks, in their order; those that stand already are not run."""
    waiting = {task.key: task for task in tasks if not (task.folder / _DONE).is_file()}
    total = sum(task.rows for task in tasks)
    ready = total - sum(task.rows for task in waiting.values())
    progress(ready, total, "tokenised documents")
    if workers > 1 and len(waiting) > 1:
        with ProcessPoolExecutor(
            workers, get_context("spawn"), initializer=exit_with_parent, initargs=(os.getpid(),)
        ) as pool:
            running = {pool.submit(_run_task, task, tokenizer): task for task in waiting.values()}
            for future in as_completed(running):
                try:
                    future.result()
                except BrokenProcessPool:
                    raise UserError(
                        "tokens: a worker process was killed (out of memory?); finished tasks are"
                        " kept, run again"
                    ) from None
                ready += running[future].rows
                progress(ready, total, "tokenised documents")
    else:
        for task in waiting.values():
            _run_task(task, tokenizer)
            ready += task.rows
            progress(ready, total, "tokenised documents")
    return [read_json(task.folder / _DONE) for task in tasks]


def _run_task(task: _Task, tokenizer: Encoder) -> None:
    unused: Counter[str] = Counter()
    with atomic_folder(task.folder) as folder:
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(open_shard(folder, name, tokenizer.vocab_size))
                for name in sorted(task.config.sources)
            }
            with pq.ParquetFile(task.path) as file:
                row = task.first_row
                for batch in file.iter_batches(
                    batch_size=_BATCH_ROWS, row_groups=list(task.groups),
                    columns=list(_columns(task.config)),
                ):  # fmt: skip
                    _add_batch(task, batch, tokenizer, writers, unused, row)
                    row += batch.num_rows
        shards = {
            name: writer.entry(name).model_dump(mode="json")
            for name, writer in writers.items()
            if writer.documents
        }
        write_json(folder / _DONE, {"shards": shards, "unused": dict(unused)})


def _add_batch(
    task: _Task,
    batch: pa.RecordBatch,
    tokenizer: Encoder,
    writers: dict[str, ShardWriter],
    unused: Counter[str],
    first_row: int,
) -> None:
    for field in ("source", "text"):
        column = batch.column(field)
        empty = column.null_count > 0
        if empty or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            row = first_row + (pc.index(column.is_null(), True).as_py() if empty else 0)
            raise UserError(f"{task.path}: row {row}: {field} is not text; build the corpus again")
    names = sorted(writers)
    owners = np.full(batch.num_rows, -1, dtype=np.int64)
    bins = _quality_bins(task, batch, first_row)
    columns = (batch.column("source").to_pylist(), batch.column("lang").to_pylist(), bins)
    for row, (source, lang, place) in enumerate(zip(*columns, strict=True)):
        owner = next((n for n in names if task.config.sources[n].takes(source, lang, place)), None)
        if owner is None:
            told = f"{source}/{lang}" if place is None else f"{source}/{lang}/bin {place}"
            unused[told] += 1
        else:
            owners[row] = names.index(owner)
    for number, name in enumerate(names):
        rows = np.flatnonzero(owners == number)
        if not rows.size:
            continue
        texts = batch.column("text").take(pa.array(rows))
        ids, starts = tokenizer.encode_column(texts)
        if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < tokenizer.vocab_size:
            at = int(np.argmax((ids < 0) | (ids >= tokenizer.vocab_size)))
            row = first_row + int(rows[np.searchsorted(starts, at, side="right") - 1])
            raise UserError(
                f"{task.path}: row {row}: token id {ids[at]} is outside the vocabulary of"
                f" {tokenizer.vocab_size:,}; the tokenizer's files do not belong together"
            )
        framed, lengths = frame(ids, starts, tokenizer.bos_id, tokenizer.eos_id)
        writers[name].add(framed, lengths, pc.binary_length(texts).to_numpy(zero_copy_only=False))


def _quality_bins(task: _Task, batch: pa.RecordBatch, first_row: int) -> list[int | None]:
    """The bin of quality of each document, None for those without (or if no source asks)."""
    if not task.config.by_quality:
        return [None] * batch.num_rows
    found: list[int | None] = []
    for row, text in enumerate(batch.column("meta").to_pylist(), first_row):
        try:
            found.append(quality_bin_of(text))
        except (ValueError, TypeError):
            raise UserError(
                f"{task.path}: row {row}: meta is no JSON object; build the corpus again"
            ) from None
    return found


# ---------------------------------------------------------------- the folder


def _sources(
    config: TokensConfig, tasks: Sequence[_Task], done: Sequence[dict[str, Any]], out: Path
) -> dict[str, SourceManifest]:
    """Link every task's shards into `out`, numbered in the order of the stream."""
    found: dict[str, SourceManifest] = {}
    left_over = sorted({name for record in done for name in record["unused"]})
    for name in sorted(config.sources):
        shards: list[ShardEntry] = []
        for task, record in zip(tasks, done, strict=True):
            if name in record["shards"]:
                entry = ShardEntry.model_validate(record["shards"][name])
                entry = entry.model_copy(update={"name": f"{name}-{len(shards):05}"})
                for kind in KINDS:
                    _link(task.folder / f"{name}.{kind}", out / f"{entry.name}.{kind}")
                shards.append(entry)
        if not shards:
            wanted = config.sources[name]
            quality = f", quality {list(wanted.quality)}" if wanted.quality else ""
            raise UserError(
                f"tokens.sources.{name}: no document has source {wanted.from_} and lang"
                f" {wanted.lang or 'any'}{quality}; documents left over:"
                f" {', '.join(left_over) or 'no others'}; correct 'from', 'lang' or 'quality', or"
                " leave the source out"
            )
        found[name] = SourceManifest(shards=tuple(shards))
    return found


def _link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
