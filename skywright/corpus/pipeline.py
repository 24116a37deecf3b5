"""The corpus from end to end: raw pages in; documents, signals, ledger and waterfall out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import duplicates, ledger, measure, pages, remove
from skywright.corpus.config import CorpusConfig
from skywright.corpus.joined import join, whole_tables
from skywright.corpus.publish import CorpusResult, publish
from skywright.corpus.schemas import FINAL_SCHEMA
from skywright.corpus.sources.files import discover
from skywright.corpus.urls import params_of
from skywright.corpus.urls.judge import URLS
from skywright.corpus.urls.lists import compile_lists
from skywright.engine.files import atomic_open, stable_hash
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import ExecutorName, Output, Runner
from skywright.engine.stage import MapStage, Shard, Tables, file_shard
from skywright.sets.schema import SEEN

STAGES = "stages"


# ---------------------------------------------------------------- the last stage


def read_final(shard: Shard, params: Config) -> Any:
    """Reader: the unique documents of a shard, less those at which a later step failed and those
    that are taken down.
    """
    documents, unique, *gone = whole_tables(shard)
    failed = pa.concat_arrays([table["record"].combine_chunks() for table in gone])
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
    kill, with one more input or with another threshold does only what is missing. Pages named in
    `takedown.json` beside the stages leave (see `skywright.corpus.remove`). Raises
    `UserError` for a wrong input or recipe and `CorpusError` if a record were lost or an id stood
    twice.
    """
    out = Path(out)
    sources = discover(config.inputs)
    held_out = [item for item in sets if item.purpose != SEEN]
    with Runner(stages or out / STAGES, executor, workers, progress) as runner:
        steps = _run(config, sources, held_out, runner)
    return publish(steps, held_out, config, out)


def read_pages(config: CorpusConfig, sources: list[Shard], runner: Runner) -> dict[str, Output]:
    """The stages from raw pages to text in a language; their outputs by name."""
    done: dict[str, Output] = {}
    nothing = pages.NoParams()
    done["index"] = runner.map(
        pages.INDEX, sources, pages.IndexParams(max_record_bytes=config.limits.max_record_bytes)
    )
    lists = params_of(config.urls)
    done["url_lists"] = compile_lists(lists, runner)
    done["urls"] = runner.map(
        URLS, done["index"].shards("records"), lists,
        {"blocked": done["url_lists"].shards("blocked")},
    )  # fmt: skip
    done["url_duplicates"] = runner.exchange(
        pages.URL_DUPLICATES, done["urls"].shards("urls"), nothing, config.partitions
    )
    done["survivors"] = runner.map(
        pages.SURVIVORS, done["urls"].shards("records"), nothing,
        {"dropped": done["url_duplicates"].shards("dropped")},
    )  # fmt: skip
    done["extract"] = runner.map(
        pages.EXTRACT, join(sources, done["survivors"].shards("survivors")),
        pages.ExtractParams(limits=config.limits, language=config.language),
    )  # fmt: skip
    return done


def _run(
    config: CorpusConfig,
    sources: list[Shard],
    sets: Sequence[measure.HeldOutSet],
    runner: Runner,
) -> dict[str, Output]:
    """Run every stage; their outputs by name."""
    # A misspelt rule is a mistake to hear of before anything is read.
    rules = measure.rules_in_force(config.rules, [item.source for item in config.inputs])
    nothing = pages.NoParams()
    done = read_pages(config, sources, runner)
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
    taken = []
    asked = remove.read_takedown(runner.root.parent).asked()
    if asked.urls or asked.domains:
        done["takedown"] = runner.map(remove.TAKE_DOWN, documents, asked)
        taken = [done["takedown"].shards("dropped")]
    done["final"] = runner.map(
        FINAL,
        join(unique, done["minhash"].shards("errors"), done["members"].shards("errors"), *taken),
        nothing, {"dropped": removed},
    )  # fmt: skip
    traces = join(
        [_bare(shard) for shard in done["urls"].shards("records")],
        done["index"].shards("errors"),
        documents,
        done["extract"].shards("dropped"),
        done["decide"].shards("dropped"),
        *taken,
        *(done[name].shards("errors") for name in ("extract", "signals", "minhash", "members")),
    )
    done["ledger"] = runner.map(
        ledger.ENTRIES, traces, ledger.LedgerParams(drop_tables=2 + len(taken)),
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
