"""Puts a finished corpus in its place: documents, signals, ledger, waterfall; counts checked."""

from __future__ import annotations

import logging
import os
import re
import shutil
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from skywright.corpus import inside, ledger, measure
from skywright.corpus.config import CorpusConfig
from skywright.corpus.decontaminate import stage as decontaminate
from skywright.corpus.edits import EDIT_SCHEMA
from skywright.corpus.rules import whatif
from skywright.corpus.schemas import LEDGER_SCHEMA
from skywright.corpus.waterfall import FILE as WATERFALL
from skywright.corpus.waterfall import Tally, alarm_sentence
from skywright.engine.files import TEMPORARY, atomic_open, sweep_temporary, write_json
from skywright.engine.runner import Output
from skywright.engine.stage import Shard

logger = logging.getLogger(__name__)

DECONTAMINATION = "decontamination.json"
CUT_SIGNALS = "signals_cut"


@dataclass(frozen=True)
class CorpusResult:
    """Where a corpus stands: `documents` and `signals` are Parquet files, one an input file."""

    folder: Path
    documents: tuple[Path, ...]
    signals: tuple[Path, ...]
    ledger: Path
    waterfall: Mapping[str, Any]


class CorpusError(Exception):
    """A law of the corpus does not hold (records lost, an id twice); nothing was published."""


def publish(
    done: Mapping[str, Output],
    sets: Sequence[measure.HeldOutSet],
    config: CorpusConfig,
    out: Path,
    in_force: Mapping[str, Any],
) -> CorpusResult:
    """Publish the outputs of all stages, by name, under `out`. `in_force` are the rules and edits.

    Raises `CorpusError` if a record has no ledger row, or if an id stands twice.
    """
    final = done["redact"]
    _check_ids(final)
    documents = _place(final.shards("documents"), out / "documents")
    signals = _place(done["signals"].shards("signals"), out / whatif.SIGNALS)
    _place(done["edit"].shards("signals"), out / whatif.EDITED)
    cut = [done[name] for name in inside.CUTTING if name in done]
    edits = _place_edits([done["edit"], *cut, final], out / "edits")
    _place_last(cut, out / CUT_SIGNALS)
    _place(done["decide"].shards("tags"), out / "tags")
    if "user_signals" in done:
        _place(done["user_signals"].shards("signals"), out / whatif.USERS)
    if "scores" in done:
        _place(done["scores"].shards("scores"), out / "scores")
    write_json(out / whatif.IN_FORCE, in_force)
    tally = Tally()
    with (
        atomic_open(out / ledger.LEDGER) as stream,
        pq.ParquetWriter(stream, LEDGER_SCHEMA, compression="zstd") as writer,
    ):
        for shard, read in zip(done["ledger"].shards("ledger"), done["index"].records, strict=True):
            table = pq.read_table(shard.path)
            expected = sum(read["outputs"][name]["rows"] for name in ("records", "errors"))
            if table.num_rows != expected:
                raise CorpusError(
                    f"{shard.key}: {expected} records read, {table.num_rows} ledger rows"
                )
            tally.add(table)
            writer.write_table(table)
    published = final.rows("documents")
    if tally.kept != published:
        raise CorpusError(f"the ledger keeps {tally.kept} records, {published} documents stand")
    counts = tally.as_json(_seconds(done), done["ledger"].read("samples").to_pylist())
    counts["tags"] = dict(sorted(Counter(done["decide"].read("tags")["rule"].to_pylist()).items()))
    counts["edits"] = edits
    counts["seconds_by_source"] = _seconds_by_source(done)
    for alarm in counts["alarms"]:
        logger.warning(alarm_sentence(alarm))
    counts["heldout"] = _heldout(done, sets, config, tally)
    counts["duplicates"] = _duplicates(done)
    if "lookup" in done:
        items = pq.read_table(done["lookup"].tasks[0].side["items"][0].path)
        wanted = config.decontaminate
        hits = done["lookup"].read("hits")
        found = decontaminate.report(items, hits, wanted.action, wanted.threshold)
        write_json(out / DECONTAMINATION, found)
    write_json(out / WATERFALL, counts)
    return CorpusResult(out, documents, signals, out / ledger.LEDGER, counts)


def _check_ids(final: Output) -> None:
    ids = np.array(
        [i for s in final.shards("documents") for i in pq.read_table(s.path, columns=["id"])["id"]
         .to_pylist()], dtype="S16",
    )  # fmt: skip
    if len(np.unique(ids.view("V16") if len(ids) else ids)) != len(ids):
        raise CorpusError("two documents have one id after exact copies were removed")


def _place(shards: Sequence[Shard], folder: Path) -> tuple[Path, ...]:
    """Publish a stage's tables under readable names (hard links where the disk allows them)."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    placed = []
    for shard in shards:
        path = _published(shard, folder)
        temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            os.link(shard.path, temporary)
        except OSError:
            shutil.copyfile(shard.path, temporary)
        os.replace(temporary, path)
        temporary.unlink(missing_ok=True)
        placed.append(path)
    return _alone(placed, folder)


def _place_edits(steps: Sequence[Output], folder: Path) -> dict[str, dict[str, int]]:
    """Publish the cuts of all steps, an input's in one table, step by step; their counts."""
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    placed, tables = [], [EDIT_SCHEMA.empty_table()]
    for shards in zip(*(step.shards("edits") for step in steps), strict=True):
        parts = [pq.read_table(shard.path).select(EDIT_SCHEMA.names) for shard in shards]
        tables.append(pa.concat_tables(parts))
        placed.append(_write(tables[-1], _published(shards[0], folder)))
    _alone(placed, folder)
    return _edits(pa.concat_tables(tables))


def _place_last(steps: Sequence[Output], folder: Path) -> None:
    """Publish the signals of documents that these steps changed, as the last of them left them."""
    if not steps:
        shutil.rmtree(folder, ignore_errors=True)
        return
    folder.mkdir(parents=True, exist_ok=True)
    sweep_temporary(folder)
    placed = []
    kept = steps[-1].shards("kept")
    for left, *shards in zip(kept, *(step.shards("signals") for step in steps), strict=True):
        table = pq.read_table(shards[0].path)
        for shard in shards[1:]:
            later = pq.read_table(shard.path)
            again = pc.is_in(table["record"], value_set=later["record"].combine_chunks())
            table = pa.concat_tables([table.filter(pc.invert(again)), later])
        records = pq.read_table(left.path, columns=["record"])["record"].combine_chunks()
        table = table.filter(pc.is_in(table["record"], value_set=records))
        placed.append(_write(table.sort_by("record"), _published(left, folder)))
    _alone(placed, folder)


def _write(table: pa.Table, path: Path) -> Path:
    with atomic_open(path) as stream:
        pq.write_table(table, stream, compression="zstd")
    return path


def _published(shard: Shard, folder: Path) -> Path:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", shard.key)[-80:]
    return folder / f"{name}-{xxhash.xxh3_64_hexdigest(shard.key.encode())[:8]}.parquet"


def _alone(placed: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Remove the tables of an earlier corpus."""
    for old in set(folder.glob("*.parquet")) - set(placed):
        old.unlink()
    return tuple(sorted(placed))


def _seconds(done: Mapping[str, Output]) -> dict[str, float]:
    """Work of each step, in seconds over all processes."""
    parts = {
        "read": ("index",),
        "urls": ("url_lists", "urls"),
        "url_duplicates": ("url_duplicates", "survivors"),
        "extract": ("extract",),
        "heldout": ("heldout",),
        "signals": ("signals",),
        "edits": ("edit",),
        "rules": ("user_signals", "decide"),
        "code": ("code",),
        "decontaminate": ("lookup",),
        "safety": ("linear_scores", "scores", "quality_edges", "judge"),
        "exact_duplicates": ("exact_duplicates", "unique"),
        "near_duplicates": ("minhash", *(name for name in done if name.startswith("near_"))),
        "line_duplicates": tuple(name for name in done if name.startswith("line")),
        "substring_duplicates": tuple(name for name in done if name.startswith("substring_")),
        "takedown": ("takedown",),
    }
    return {
        step: sum(done[name].seconds for name in names if name in done)
        for step, names in parts.items()
    }


def _seconds_by_source(done: Mapping[str, Output]) -> dict[str, float]:
    """The same work by source, of the stages whose tasks belong to one input file."""
    seconds: Counter[str] = Counter()
    for output in done.values():
        for task, record in zip(output.tasks, output.records, strict=True):
            if task.kind == "map":
                key = next(shard.key for group in task.inputs.values() for shard in group)
                source, slash, _ = key.partition("/")
                if slash:  # otherwise it is a partition's
                    seconds[source] += record["seconds"]
    return {source: round(seconds[source], 3) for source in sorted(seconds)}


def _edits(table: pa.Table) -> dict[str, dict[str, int]]:
    """What each edit cut: documents, spans and characters."""
    found: dict[str, Counter[str]] = {}
    spans = pc.list_value_length(table["spans"])
    columns = (table["rule"], table["chars_removed"], spans)
    for rule, chars, n in zip(*(c.to_pylist() for c in columns), strict=True):
        found.setdefault(rule, Counter()).update(documents=1, spans=n, chars=chars)
    return {rule: dict(found[rule]) for rule in sorted(found)}


def _heldout(
    done: Mapping[str, Output],
    sets: Sequence[measure.HeldOutSet],
    config: CorpusConfig,
    tally: Tally,
) -> dict[str, Any]:
    """The proof: over all evaluation documents, the largest containment in what is kept.

    The search is exhaustive over all shingles, so this is no estimate.
    """
    dropped = {item.name: tally.dropped["heldout", f"heldout:{item.name}"] for item in sets}
    largest = 0.0
    if "heldout" in done:
        found = done["heldout"].shards("containment")
        for entries, overlaps in zip(done["ledger"].shards("ledger"), found, strict=True):
            rows = pq.read_table(entries.path, columns=["record", "kept"])
            overlap = pq.read_table(overlaps.path, columns=["record", "containment"])
            kept = rows.filter(rows["kept"])["record"].combine_chunks()
            inside = overlap.filter(pc.is_in(overlap["record"], value_set=kept))
            largest = max(largest, float(pc.max(inside["containment"]).as_py() or 0.0))
    return {
        "documents": sum(len(item.documents) for item in sets),
        "dropped": sum(dropped.values()),
        "threshold": config.heldout.containment,
        "max_containment_kept": largest,
        "sets": {
            item.name: {"documents": len(item.documents), "dropped": dropped[item.name]}
            for item in sets
        },
    }


def _duplicates(done: Mapping[str, Output]) -> dict[str, Any]:
    """Counts of copies; `largest_cluster` is a kept document with its near copies, `comparisons`
    the pairs that were compared exactly.
    """
    removed = done["near_duplicates"].read("dropped")
    return {
        "same_url": done["url_duplicates"].rows("dropped"),
        "exact_copies": done["exact_duplicates"].rows("dropped"),
        "near_copies": removed.num_rows,
        "comparisons": sum(
            output.rows("found") for name, output in done.items() if "near_comparisons" in name
        ),
        "largest_cluster": int(pc.max(removed["cluster_size"]).as_py() or 1),
        "min_similarity": float(pc.min(removed["similarity"]).as_py() or 0.0),
    }
