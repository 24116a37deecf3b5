"""The corpus from end to end: raw pages in; documents, signals, ledger and waterfall out."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from skywright.config import Config
from skywright.corpus import duplicates, ledger, measure, pages
from skywright.corpus.config import CorpusConfig
from skywright.corpus.joined import join, whole_tables
from skywright.corpus.schemas import FINAL_SCHEMA, LEDGER_SCHEMA
from skywright.corpus.sources.files import discover
from skywright.corpus.urls import params_of
from skywright.corpus.waterfall import FILE as WATERFALL
from skywright.corpus.waterfall import Tally
from skywright.engine.files import TEMPORARY, atomic_open, stable_hash, sweep_temporary, write_json
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import ExecutorName, Output, Runner
from skywright.engine.stage import MapStage, Shard, Tables, file_shard
from skywright.sets.schema import SEEN

STAGES = "stages"


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


# ---------------------------------------------------------------- the last stage


def read_final(shard: Shard, params: Config) -> Any:
    """Reader: the unique documents of a shard, less those at which a later step failed."""
    documents, unique, *errors = whole_tables(shard)
    failed = pa.concat_arrays([e["record"].combine_chunks() for e in errors])
    stay = pc.and_(
        pc.is_in(documents["record"], value_set=unique["record"].combine_chunks()),
        pc.invert(pc.is_in(documents["record"], value_set=failed)),
    )
    yield documents.filter(stay)


def finish(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The documents of a shard that nothing has dropped, sorted by record."""
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    return {"documents": table.filter(pc.invert(gone)).sort_by("record")}


FINAL = MapStage("final", "1", finish, {"documents": FINAL_SCHEMA}, read_final, rowwise=False)


# ---------------------------------------------------------------- the pipeline


def build(
    config: CorpusConfig,
    sets: Sequence[measure.HeldOutSet],
    out: Path,
    executor: ExecutorName = "processes",
    workers: int | None = None,
    progress: Progress = silent,
    stages: Path | None = None,
) -> CorpusResult:
    """Build the corpus of `config` into the folder `out`.

    `sets` are held out: a document that overlaps one of their documents is dropped (sets of the
    purpose "leak_train_seen" are meant to be read and are passed over). Intermediate tables stand
    under `stages` (default: `out/stages`), named by what made them, so that calling again after a
    kill, with one more input or with another threshold does only what is missing. Raises
    `UserError` for a wrong input or recipe and `CorpusError` if a record were lost or an id stood
    twice.
    """
    out = Path(out)
    sources = discover(config.inputs)
    held_out = [item for item in sets if item.purpose != SEEN]
    with Runner(stages or out / STAGES, executor, workers, progress) as runner:
        steps = _run(config, sources, held_out, runner)
    return _publish(steps, sources, held_out, config, out)


def _run(
    config: CorpusConfig,
    sources: list[Shard],
    sets: Sequence[measure.HeldOutSet],
    runner: Runner,
) -> dict[str, Output]:
    """Run every stage; their outputs by name."""
    # A misspelt rule is a mistake to hear of before anything is read.
    rules = measure.rules_in_force(config.rules, [item.source for item in config.inputs])
    done: dict[str, Output] = {}
    nothing = pages.NoParams()
    done["index"] = runner.map(
        pages.INDEX, sources,
        pages.IndexParams(
            max_record_bytes=config.limits.max_record_bytes, urls=params_of(config.urls)
        ),
    )  # fmt: skip
    done["url_duplicates"] = runner.exchange(
        pages.URL_DUPLICATES, done["index"].shards("urls"), nothing, config.partitions
    )
    done["survivors"] = runner.map(
        pages.SURVIVORS, done["index"].shards("records"), nothing,
        {"dropped": done["url_duplicates"].shards("dropped")},
    )  # fmt: skip
    done["extract"] = runner.map(
        pages.EXTRACT, join(sources, done["survivors"].shards("survivors")),
        pages.ExtractParams(limits=config.limits, language=config.language),
    )  # fmt: skip
    documents = [_bare(shard) for shard in done["extract"].shards("documents")]
    done["signals"] = runner.map(measure.SIGNALS, documents, nothing)
    judged = [_bare(shard) for shard in done["signals"].shards("signals")]
    if any(item.documents for item in sets):
        done["heldout"] = runner.map(
            measure.HELDOUT, documents, measure.HeldoutParams(ngram=config.heldout.ngram),
            {"evaluation": [_evaluation_shard(sets, runner.root)]},
        )  # fmt: skip
        judged = join(judged, done["heldout"].shards("containment"))
    done["decide"] = runner.map(
        measure.DECIDE, judged,
        measure.DecideParams(
            rules=rules,
            priorities={item.source: item.priority for item in config.inputs},
            containment=config.heldout.containment,
        ),
    )  # fmt: skip
    kept = done["decide"].shards("kept")
    done["exact_duplicates"] = runner.exchange(duplicates.EXACT, kept, nothing, config.partitions)
    done["unique"] = runner.map(
        duplicates.UNIQUE, kept, nothing, {"dropped": done["exact_duplicates"].shards("dropped")}
    )
    unique = join(documents, done["unique"].shards("unique"))
    settings = config.duplicates
    done["minhash"] = runner.map(duplicates.MINHASH, unique, settings)
    done["pairs"] = runner.exchange(
        duplicates.PAIRS, done["minhash"].shards("bands"), settings, config.partitions
    )
    pairs = done["pairs"].shards("pairs")
    done["members"] = runner.map(duplicates.MEMBERS, unique, settings, {"pairs": pairs})
    done["near_duplicates"] = runner.gather(
        duplicates.VERIFY, {"pairs": pairs, "members": done["members"].shards("members")}, settings
    )
    removed = done["near_duplicates"].shards("dropped")
    done["final"] = runner.map(
        FINAL,
        join(unique, done["minhash"].shards("errors"), done["members"].shards("errors")),
        nothing, {"dropped": removed},
    )  # fmt: skip
    traces = join(
        [_bare(shard) for shard in done["index"].shards("records")],
        done["index"].shards("errors"),
        documents,
        done["extract"].shards("dropped"),
        done["decide"].shards("dropped"),
        *(done[name].shards("errors") for name in ("extract", "signals", "minhash", "members")),
    )
    done["ledger"] = runner.map(
        ledger.ENTRIES, traces, ledger.LedgerParams(drop_tables=2),
        {
            name: done[name].shards("dropped")
            for name in ("url_duplicates", "exact_duplicates", "near_duplicates")
        },
    )  # fmt: skip
    return done


def _bare(shard: Shard) -> Shard:
    """A shard without the notes on its source: what follows depends on its content alone."""
    return Shard(shard.path, shard.sha256, shard.bytes, shard.rows, shard.key)


def _evaluation_shard(sets: Sequence[measure.HeldOutSet], root: Path) -> Shard:
    table = measure.evaluation_table(sets)
    rows = [[row["set"], row["id"].hex()] for row in table.to_pylist()]
    path = root / "evaluation" / f"{stable_hash(rows)[:32]}.parquet"
    with atomic_open(path) as stream:
        pq.write_table(table, stream, compression="zstd")
    return file_shard(path, "evaluation")


# ---------------------------------------------------------------- publishing


def _publish(
    done: dict[str, Output],
    sources: list[Shard],
    sets: Sequence[measure.HeldOutSet],
    config: CorpusConfig,
    out: Path,
) -> CorpusResult:
    _check_ids(done["final"])
    documents = _place(done["final"].shards("documents"), out / "documents")
    signals = _place(done["signals"].shards("signals"), out / "signals")
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
    published = done["final"].rows("documents")
    if tally.kept != published:
        raise CorpusError(f"the ledger keeps {tally.kept} records, {published} documents stand")
    counts = tally.as_json(_seconds(done), done["ledger"].read("samples").to_pylist())
    counts["heldout"] = _heldout(done, sets, config, tally)
    counts["duplicates"] = _duplicates(done)
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
        name = re.sub(r"[^A-Za-z0-9_.-]+", "_", shard.key)[-80:]
        path = folder / f"{name}-{xxhash.xxh3_64_hexdigest(shard.key.encode())[:8]}.parquet"
        temporary = folder / f"{TEMPORARY}{uuid.uuid4().hex}"
        try:
            os.link(shard.path, temporary)
        except OSError:
            shutil.copyfile(shard.path, temporary)
        os.replace(temporary, path)
        temporary.unlink(missing_ok=True)
        placed.append(path)
    for old in set(folder.glob("*.parquet")) - set(placed):
        old.unlink()
    return tuple(sorted(placed))


def _seconds(done: dict[str, Output]) -> dict[str, float]:
    """Work of each step, in seconds over all processes."""
    parts = {
        "read": ("index",),
        "url_duplicates": ("url_duplicates", "survivors"),
        "extract": ("extract",),
        "heldout": ("heldout",),
        "rules": ("signals", "decide"),
        "exact_duplicates": ("exact_duplicates", "unique"),
        "near_duplicates": ("minhash", "pairs", "members", "near_duplicates"),
    }
    return {
        step: sum(done[name].seconds for name in names if name in done)
        for step, names in parts.items()
    }


def _heldout(
    done: dict[str, Output], sets: Sequence[measure.HeldOutSet], config: CorpusConfig, tally: Tally
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


def _duplicates(done: dict[str, Output]) -> dict[str, Any]:
    """Counts of copies; `pairs_proposed` is what LSH proposed (a pair may come from several
    bands), `largest_cluster` a kept document with its near copies.
    """
    removed = done["near_duplicates"].read("dropped")
    return {
        "same_url": done["url_duplicates"].rows("dropped"),
        "exact_copies": done["exact_duplicates"].rows("dropped"),
        "near_copies": removed.num_rows,
        "pairs_proposed": done["pairs"].rows("pairs"),
        "largest_cluster": int(pc.max(removed["cluster_size"]).as_py() or 1),
        "min_similarity": float(pc.min(removed["similarity"]).as_py() or 0.0),
    }
