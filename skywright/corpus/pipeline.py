"""The corpus from end to end: raw pages in; documents, signals, ledger and waterfall out."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skywright.config import Config
from skywright.corpus import duplicates, inside, ledger, measure, pages, refine
from skywright.corpus.config import CorpusConfig
from skywright.corpus.dedup.near import near_copies
from skywright.corpus.edits.stage import EDIT, EditParams
from skywright.corpus.joined import join
from skywright.corpus.plugins import Plugin, find
from skywright.corpus.publish import CorpusResult, publish
from skywright.corpus.remove import TAKE_DOWN, Asked, read_takedown
from skywright.corpus.rules import Rule
from skywright.corpus.rules.inforce import edits_in_force, rules_in_force
from skywright.corpus.sample import SAMPLE, SampleParams
from skywright.corpus.schemas import FINAL_SCHEMA
from skywright.corpus.sources.files import discover
from skywright.corpus.sources.split import split
from skywright.corpus.space import check_space
from skywright.corpus.urls import params_of
from skywright.corpus.urls.judge import URLS
from skywright.corpus.urls.lists import compile_lists
from skywright.engine.progress import Progress, silent
from skywright.engine.runner import Output, Runner
from skywright.engine.settings import EngineConfig, ExecutorName, engine_of
from skywright.engine.stage import ERRORS, MapStage, Shard, Tables
from skywright.engine.store import is_remote
from skywright.errors import UserError
from skywright.sets.schema import SEEN

STAGES = "stages"


# ---------------------------------------------------------------- the last stage


def finish(table: pa.Table, params: Config, side: Tables) -> Tables:
    """The documents of a shard that nothing has dropped, sorted by record."""
    gone = pc.is_in(table["record"], value_set=side["dropped"]["record"].combine_chunks())
    return {"documents": table.filter(pc.invert(gone)).sort_by("record")}


FINAL = MapStage(
    "final", "1", finish, {"documents": FINAL_SCHEMA}, inside.read_standing, rowwise=False,
    narrow="record",
)  # fmt: skip


# ---------------------------------------------------------------- the pipeline


def build(
    config: CorpusConfig,
    sets: Sequence[measure.HeldOutSet],
    out: Path,
    executor: ExecutorName | EngineConfig = "processes",
    workers: int | None = None,
    progress: Progress = silent,
    stages: Path | str | None = None,
    folder: Path | None = None,
) -> CorpusResult:
    """Build the corpus of `config` into the folder `out`.

    `sets` are held out: a document that overlaps one of their documents is dropped (sets of the
    purpose "leak_train_seen" are meant to be read and are passed over). Intermediate tables stand
    under `stages` (a folder or an fsspec address; default: `out/stages`), named by what made them,
    so that calling again after a kill, with one more input or with another threshold does only what
    is missing. Pages named in `takedown.json` beside the stages leave (`skywright.corpus.remove`).
    `folder` is where the modules of the recipe's own signals and rules are (default: the working
    folder). Raises `UserError` for a wrong input or recipe, or for a disk that is too small, and
    `CorpusError` if a record were lost or an id stood twice.
    """
    out = Path(out)
    steps = work(
        config, sets, stages or out / STAGES, executor, workers, progress, out.name, folder
    )
    in_force = _in_force(config, folder or Path()).model_dump(mode="json")
    with tempfile.TemporaryDirectory(prefix="skywright-") as copies:
        here = {name: output.here(Path(copies)) for name, output in steps.items()}
        return publish(here, _held_out(sets), config, out, in_force)


def check(config: CorpusConfig, folder: Path) -> None:
    """Raise UserError if a build could not begin: an input, a rule or a module is not there."""
    discover(config.inputs)
    _in_force(config, folder)


def work(
    config: CorpusConfig,
    sets: Sequence[measure.HeldOutSet],
    stages: Path | str,
    executor: ExecutorName | EngineConfig = "processes",
    workers: int | None = None,
    progress: Progress = silent,
    build: str = "corpus",
    folder: Path | None = None,
) -> dict[str, Output]:
    """Do all stages of `build` and publish nothing; their outputs by name.

    Several workers may do this over one folder `stages`, each with its `EngineConfig.slice`.
    """
    engine = engine_of(executor, workers)
    asked = Asked() if is_remote(stages) else read_takedown(Path(stages).parent).asked()
    stages = engine.stages or stages
    sources = discover(config.inputs)
    # A misspelt rule is a mistake to hear of before anything is read.
    in_force = _in_force(config, folder or Path())
    if not engine.force:
        check_space(sources, str(stages), build, config.sample)
    with Runner(stages, engine, progress=progress, build=build) as runner:
        return _run(config, sources, _held_out(sets), runner, in_force, asked)


def _held_out(sets: Sequence[measure.HeldOutSet]) -> list[measure.HeldOutSet]:
    return [item for item in sets if item.purpose != SEEN]


class InForce(Config):
    """What the recipe asks for, by source and language: rules, edits, the user's signals."""

    rules: dict[str, dict[str, tuple[Rule, ...]]]
    edits: dict[str, dict[str, tuple[str, ...]]]
    functions: dict[str, Plugin]


def _in_force(config: CorpusConfig, folder: Path) -> InForce:
    names = [item.source for item in config.inputs]
    return InForce(
        rules=rules_in_force(config.rules, names, tuple(config.signals), folder),
        edits=edits_in_force(config.edits, names),
        functions={
            name: find(ref, folder, f"signals.{name}") for name, ref in config.signals.items()
        },
    )


def read_pages(config: CorpusConfig, sources: list[Shard], runner: Runner) -> dict[str, Output]:
    """The stages from raw pages to text in a language; their outputs by name."""
    done: dict[str, Output] = {}
    nothing = pages.NoParams()
    sources = split(sources, config.split_bytes, config.limits.max_record_bytes, runner)
    done["index"] = runner.map(
        pages.INDEX, sources, pages.IndexParams(max_record_bytes=config.limits.max_record_bytes)
    )
    read = done["index"].shards("records")
    if config.sample < 1:
        done["sample"] = runner.map(SAMPLE, read, SampleParams(share=config.sample))
        read = done["sample"].shards("records")
    lists = params_of(config.urls)
    done["url_lists"] = compile_lists(lists, runner)
    done["urls"] = runner.map(URLS, read, lists, {"blocked": done["url_lists"].shards("blocked")})
    done["url_duplicates"] = runner.exchange(
        pages.URL_DUPLICATES, done["urls"].shards("urls"), nothing,
        config.partitions_for(done["urls"].bytes("urls")),
    )  # fmt: skip
    done["survivors"] = runner.map(
        pages.SURVIVORS, done["urls"].shards("records"), nothing,
        {"dropped": done["url_duplicates"].shards("dropped")},
    )  # fmt: skip
    done["extract"] = runner.map(
        pages.EXTRACT, join(sources, done["survivors"].shards("survivors")),
        pages.extract_params(config),
    )  # fmt: skip
    return done


def _run(
    config: CorpusConfig,
    sources: list[Shard],
    sets: Sequence[measure.HeldOutSet],
    runner: Runner,
    in_force: InForce,
    asked: Asked,
) -> dict[str, Output]:
    """Run every stage; their outputs by name."""
    nothing = pages.NoParams()
    done = read_pages(config, sources, runner)
    extracted = [_bare(shard) for shard in done["extract"].shards("documents")]
    done["signals"] = runner.map(measure.SIGNALS, extracted, nothing)
    done["edit"] = runner.map(
        EDIT, join(extracted, done["signals"].shards("lines")), EditParams(rules=in_force.edits)
    )
    documents = [_bare(shard) for shard in done["edit"].shards("documents")]
    judged = join(
        done["signals"].shards("signals"), done["edit"].shards("signals"),
        done["edit"].shards("errors"), meta={},
    )  # fmt: skip
    if in_force.functions:
        done["user_signals"] = runner.map(
            measure.user_signals(tuple(in_force.functions)), documents,
            measure.UserSignalParams(functions=in_force.functions),
        )  # fmt: skip
        _heed(done["user_signals"], in_force)
        judged = join(
            judged, done["user_signals"].shards("signals"), done["user_signals"].shards("errors")
        )
    if any(item.documents for item in sets):
        done["heldout"] = runner.map(
            measure.HELDOUT, extracted, measure.HeldoutParams(ngram=config.heldout.ngram),
            {"evaluation": [_evaluation_shard(sets, runner)]},
        )  # fmt: skip
        judged = join(judged, done["heldout"].shards("containment"))
    done["decide"] = runner.map(
        measure.DECIDE, judged,
        measure.DecideParams(
            rules=in_force.rules,
            priorities={item.source: item.priority for item in config.inputs},
            containment=config.heldout.containment,
            min_chars=config.edits.min_chars,
            quality=measure.quality_signal(config.duplicates.quality),
        ),
    )  # fmt: skip
    done |= refine.judged(config, sources, documents, done["decide"].shards("kept"), runner)
    kept = done["judge"].shards("kept")
    done["exact_duplicates"] = runner.exchange(
        duplicates.EXACT, kept, duplicates.exact_params(config),
        config.partitions_for(done["judge"].bytes("kept")),
    )  # fmt: skip
    done["unique"] = runner.map(
        duplicates.UNIQUE, kept, nothing, {"dropped": done["exact_duplicates"].shards("dropped")}
    )
    unique = join(documents, done["unique"].shards("unique"))
    done |= near_copies(
        runner, unique, config.duplicates, config.partitions_for(done["edit"].bytes("documents")),
        duplicates.scopes_of(config),
    ).outputs  # fmt: skip
    taken = []
    if asked.urls or asked.domains:
        done["takedown"] = runner.map(TAKE_DOWN, documents, asked)
        taken = [done["takedown"].shards("dropped")]
    gone = [done["minhash"].shards("errors"), *taken]
    copies = {"dropped": done["near_duplicates"].shards("dropped")}
    done |= inside.without_repeats(
        config, documents, done["unique"].shards("unique"), gone, copies, runner
    )
    cut = [done[name] for name in inside.CUTTING if name in done]
    if cut:
        unique = join(cut[-1].shards("documents"), cut[-1].shards("kept"))
    done["final"] = runner.map(FINAL, join(unique, *gone), nothing, copies)
    done["redact"] = refine.redacted(config, sources, done, runner)
    errors = [name for name in ledger.ERROR_STEPS if name in done]
    traces = join(
        [_bare(shard) for shard in done["urls"].shards("records")],
        done["index"].shards("errors"),
        extracted,
        done["signals"].shards("signals"),
        done["extract"].shards("dropped"),
        done["decide"].shards("dropped"),
        done["judge"].shards("dropped"),
        *taken,
        *(output.shards("dropped") for output in cut),
        *(done[name].shards("errors") for name in errors),
    )
    done["ledger"] = runner.map(
        ledger.ENTRIES, traces,
        ledger.LedgerParams(drop_tables=3 + len(taken) + len(cut), error_tables=tuple(errors)),
        {
            name: done[name].shards("dropped")
            for name in ("url_duplicates", "exact_duplicates", "near_duplicates")
        },
    )  # fmt: skip
    return done


def _heed(measured: Output, in_force: InForce) -> None:
    """Raise UserError if a user's signals failed at every text: then no text is to blame."""
    failed = measured.rows(ERRORS)
    if failed and not measured.rows("signals"):
        first = next(table for table in map(_read, measured.shards(ERRORS)) if table.num_rows)
        row = first.slice(0, 1).to_pylist()[0]
        names = ", ".join(f"corpus.signals.{name}" for name in in_force.functions)
        raise UserError(
            f"{names}: fails at every one of {failed:,} texts, the first time with "
            f"{row['error'].removeprefix('error:')}: {row['message']}; mend the function"
        )


def _read(shard: Shard) -> pa.Table:
    return pq.read_table(shard.path)


def _bare(shard: Shard) -> Shard:
    """A shard without the notes on its source: what follows depends on its content alone."""
    return Shard(shard.path, shard.sha256, shard.bytes, shard.rows, shard.key)


def _evaluation_shard(sets: Sequence[measure.HeldOutSet], runner: Runner) -> Shard:
    table = measure.evaluation_table(sets)
    rows = [[row["set"], row["id"].hex()] for row in table.to_pylist()]
    return runner.constant("evaluation", table, rows)
