"""`skywright corpus`: from raw pages to clean documents, and every question about them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywright.cli import classifier
from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import (
    Engine,
    EngineOption,
    Json,
    Overrides,
    Place,
    RayAddress,
    RecipePath,
    Workdir,
    engine_config,
    read_summary,
    run_folder,
    run_steps,
    step_folder,
)
from skywright.errors import UserError

if TYPE_CHECKING:
    from skywright.engine.settings import EngineConfig

app = typer.Typer(
    help="Clean documents from raw pages; every drop can say why.", no_args_is_help=True
)
app.add_typer(classifier.app, name="classifier")


class Form(StrEnum):
    """What an export is written as."""

    jsonl = "jsonl"
    parquet = "parquet"


Sample = Annotated[
    str | None,
    typer.Option("--sample", help="Read this share of the documents, by their ids: 1%."),
]


class By(StrEnum):
    """What a row of the waterfall stands for."""

    rule = "rule"
    step = "step"
    source = "source"


WATERFALL = {
    By.rule: ("steps", ("step", "rule", "dropped", "bytes_dropped")),
    By.step: ("flow", ("step", "in", "out", "bytes_out", "seconds")),
    By.source: ("by_step", ("step", "source", "lang", "documents", "bytes", "tokens")),
}
"""The part of `waterfall.json` that is shown, and its columns in the order of reading."""


@app.command(epilog="Example: skywright corpus build recipes/laptop.yaml --sample 1%")
def build(
    recipe: RecipePath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    engine: EngineOption = Engine.processes,
    ray_address: RayAddress = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes (default: all cores).")
    ] = None,
    share: Annotated[
        str | None,
        typer.Option("--slice", help="Be worker i of n that share the work's folder: 2/3."),
    ] = None,
    lease: Annotated[
        str, typer.Option(help="With --slice: a worker silent for this long is taken for dead.")
    ] = "2 min",
    sample: Sample = None,
    stages: Annotated[
        str | None,
        typer.Option(help="Where stages put their outputs: a folder, or s3://bucket/prefix."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Start even if the disk looks too small.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run and the disk it takes; no more.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the recipe's corpus; what is done is skipped, what was killed goes on."""
    from skywright.engine.settings import Slice

    if sample:
        from skywright.corpus.sample import parse_share

        overrides = [*(overrides or ()), f"corpus.sample={parse_share(sample)}"]
    settings = {"workers": workers, "stages": stages, "force": force}
    config = engine_config(engine, ray_address, **settings)
    if dry_run:
        run_steps(recipe, overrides, workdir, config, as_json, only="corpus", dry_run=True)
        if not as_json:
            _say_space(recipe, overrides, workdir)
        return
    if share:
        slice_ = Slice.parse(share, _seconds(lease))
        part = engine_config(engine, ray_address, slice=slice_, **settings)
        _work(recipe, overrides, workdir, part, as_json)
    made = run_steps(
        recipe, overrides, workdir, config, as_json, only="corpus", wait=share is not None
    )
    if made and not as_json:
        _say_kept(made[0].folder)


def _say_kept(folder: Path) -> None:
    from skywright.corpus.ledger import damage_sentences
    from skywright.corpus.waterfall import waterfall as read_waterfall

    found = read_waterfall(folder)
    say(
        f"{found['kept']:,} of {found['input_records']:,} records kept; what dropped the others: "
        f"skywright corpus waterfall {folder.parent.parent}"
    )
    for sentence in damage_sentences(folder, folder.parent.parent):
        say(sentence)


def _seconds(text: str) -> float:
    from pydantic import TypeAdapter, ValidationError

    from skywright.config import Duration

    try:
        return TypeAdapter(Duration).validate_python(text)
    except ValidationError:
        raise UserError(f"--lease {text}: no time; write it like '2 min' or '90 s'") from None


def _work(
    recipe: Path,
    overrides: list[str] | None,
    workdir: Path | None,
    config: EngineConfig,
    as_json: bool,
) -> None:
    """Do a worker's share of the stages; whoever is through first publishes."""
    from skywright.corpus.pipeline import STAGES, work
    from skywright.run import load_corpus_recipe, plan_steps
    from skywright.sets import load as load_set

    loaded = load_corpus_recipe(recipe, overrides or (), workdir)
    step = plan_steps(loaded, "corpus")[0]
    if step["done"]:
        return
    sets = [load_set(path) for path in loaded.sets]
    folder = loaded.workdir / "corpus" / STAGES
    with progress_bar(quiet=as_json) as progress:
        work(
            loaded.corpus, sets, folder, config, progress=progress, build=Path(step["folder"]).name
        )


def _say_space(recipe: Path, overrides: list[str] | None, workdir: Path | None) -> None:
    from skywright.corpus.sources.files import discover
    from skywright.corpus.space import stage_bytes, told_bytes
    from skywright.run import load_corpus_recipe

    corpus = load_corpus_recipe(recipe, overrides or (), workdir).corpus
    sources = discover(corpus.inputs)
    read, needed = sum(s.bytes for s in sources), stage_bytes(sources, corpus.sample)
    say(f"inputs {told_bytes(read)}; stages will take about {told_bytes(needed)} of disk")


@app.command(epilog="Example: skywright corpus status runs/laptop")
def status(where: Place, as_json: Json = False) -> None:
    """Records in, documents kept, by source and language."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
        return
    say(f"{found['kept']:,} of {found['input_records']:,} records kept")
    rows = [{"source": name, **row} for name, row in found["by_source"].items()]
    show_table(rows, ["source", "in", "kept", "bytes_kept", "chars_kept", "tokens_kept"])
    _say_alarms(found)


def _say_alarms(found: dict[str, Any]) -> None:
    from skywright.corpus.waterfall import alarm_sentence

    for alarm in found.get("alarms", ()):
        say(f"alarm: {alarm_sentence(alarm)}")


@app.command(epilog="Example: skywright corpus waterfall runs/laptop")
def waterfall(
    where: Place,
    by: Annotated[
        By, typer.Option("--by", help="rule, or step with its seconds, or source and language.")
    ] = By.rule,
    as_json: Json = False,
) -> None:
    """What each step and rule dropped: documents, bytes, tokens, seconds."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
        return
    part, columns = WATERFALL[by]
    show_table(found[part], columns)
    _say_alarms(found)


@app.command(epilog="Example: skywright corpus samples runs/laptop --rule mapneo_digits")
def samples(
    where: Place,
    rule: Annotated[str, typer.Option("--rule", help="A rule, step/rule, or an edit.")],
    as_json: Json = False,
) -> None:
    """Up to 20 documents that a rule dropped or tagged, or 20 cuts of an edit."""
    from skywright.corpus.waterfall import rule_samples

    rows = rule_samples(step_folder(where, "corpus"), rule)
    if as_json:
        show_json(rows)
        return
    for row in rows:
        if "removed" in row:
            print(f"{row['id']}:{row['start']}  {row['removed']!r}")
        else:
            value = "" if row["value"] is None else f"  {row['value']:.4g}"
            print(f"{row['url'] or row['record']}{value}\n    {(row['excerpt'] or '')!r}")


@app.command(epilog="Example: skywright corpus whatif runs/laptop chineseweb_chars_min=100")
def whatif(
    where: Place,
    changes: Annotated[
        list[str], typer.Argument(help="rule=threshold or rule=off.", metavar="RULE=THRESHOLD...")
    ],
    as_json: Json = False,
) -> None:
    """What other thresholds would keep, from the stored signals; nothing is built."""
    from skywright.corpus.rules import whatif as asked

    found = asked.whatif(step_folder(where, "corpus"), asked.parse(changes))
    if as_json:
        show_json(found)
        return
    show_table(found["by"])
    for title in ("newly_kept", "newly_dropped"):
        part = found[title]
        say(f"{title.replace('_', ' ')}: {part['documents']:,} documents")
        for row in part["examples"]:
            value = "" if row["value"] is None else f" ({row['rule']} {row['value']:.4g})"
            print(f"  {row['url'] or row['record']}{value}  {row['excerpt'][:80]!r}")
    for note in found["notes"]:
        say(f"note: {note}")


@app.command(epilog="Example: skywright corpus why runs/laptop https://example.org/page")
def why(
    where: Place,
    query: Annotated[str, typer.Argument(help="A URL, a record or a document id (hex).")],
    as_json: Json = False,
) -> None:
    """Why a page was kept or dropped."""
    from skywright.corpus import ledger

    folder = step_folder(where, "corpus")
    rows = ledger.why(folder, query)
    if as_json:
        show_json(rows)
        return
    if not rows:
        raise UserError(f"{query}: no such URL, record or id in {folder / ledger.LEDGER}; check it")
    if rows[0]["match"] == "near":
        say(f"{query} is not in the ledger; the nearest addresses of its host:")
    for row in rows:
        print(row["sentence"])


@app.command(epilog="Example: skywright corpus remove runs/laptop --domains asked.txt --yes")
def remove(
    where: Annotated[Path, typer.Argument(help="A recipe or a run's folder.", metavar="RUN")],
    urls: Annotated[
        Path | None, typer.Option("--urls", help="A file of addresses, one a line.")
    ] = None,
    domains: Annotated[
        Path | None, typer.Option("--domains", help="A file of domains or hosts, one a line.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Kept with the request.")] = "",
    copies: Annotated[
        bool, typer.Option("--copies", help="Also documents with the same text elsewhere.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what.")] = False,
    purge: Annotated[
        bool, typer.Option("--purge", help="Delete older outputs and stage tables afterwards.")
    ] = False,
    engine: EngineOption = Engine.processes,
    as_json: Json = False,
) -> None:
    """Take pages down: out of the corpus and its token shards, and never back in."""
    from datetime import UTC, datetime

    from skywright.corpus.remove import requests
    from skywright.run import load_corpus_recipe, takedown

    recipe = load_corpus_recipe(where if where.is_file() else where / "recipe.resolved.yaml")
    entries = requests(urls, domains, datetime.now(UTC).date().isoformat(), reason)
    deleted: list[Path] = []
    if yes:
        with progress_bar(quiet=as_json) as progress:
            found, _ = takedown.take_down(recipe, entries, copies, engine.value, progress)
        deleted = takedown.purge(recipe) if purge else []
    else:
        found = takedown.look(recipe, entries)
    if as_json:
        show_json(takedown.as_json(found, yes, deleted))
        return
    show_table(found.documents, ["url", "source", "lang", "file"])
    for line in takedown.sentences(found, yes, copies, deleted):
        say(line)


@app.command(epilog="Example: skywright corpus export runs/laptop corpus-release")
def export(
    where: Place,
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    form: Annotated[
        Form, typer.Option("--to", help="jsonl (zstd, field `text`) or parquet.")
    ] = Form.jsonl,
    sample: Sample = None,
) -> None:
    """Write the kept documents as JSONL.zst or Parquet."""
    from skywright.corpus.export import export as write
    from skywright.corpus.sample import parse_share

    share = parse_share(sample) if sample else 1.0
    for path in write(step_folder(where, "corpus"), out, form.value, share):
        print(path)


@app.command(epilog="Example: skywright corpus release recipes/laptop.yaml laptop-corpus")
def release(
    where: Place,
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    form: Annotated[
        Form, typer.Option("--to", help="jsonl (zstd, field `text`) or parquet.")
    ] = Form.jsonl,
) -> None:
    """Write the corpus with a data card and its lineage (given the recipe: parents and lists)."""
    from skywright.corpus.release import release as write
    from skywright.run import load_corpus_recipe

    recipe = load_corpus_recipe(where) if where.is_file() else None
    config = recipe.corpus if recipe else None
    name = recipe.name if recipe else out.name
    for path in write(step_folder(where, "corpus"), out, config, form.value, name):
        print(path)


@app.command(epilog="Example: skywright corpus card runs/laptop")
def card(where: Place) -> None:
    """Print the data card: counts by language, source, quality and licence; what was dropped."""
    from skywright.corpus.card import card as write

    print(write(step_folder(where, "corpus"), where.stem), end="")


@app.command(epilog="Example: skywright corpus gc runs/laptop --remove")
def gc(
    where: Annotated[Path, typer.Argument(help="A recipe, a run's folder, or a folder of stages.")],
    keep: Annotated[
        int, typer.Option(min=1, help="How many finished builds, the newest, stay whole.")
    ] = 1,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove; without it, say what would go.")
    ] = False,
    stages: Annotated[
        str | None, typer.Option(help="The address of the stages, if they stand elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove outputs of stages that no current build needs; published documents stay."""
    from skywright.corpus.space import collect

    found = collect(stages or _stages_folder(where), keep, remove)
    if as_json:
        show_json({"removed": remove, "bytes": found.bytes, "kept_bytes": found.kept_bytes,
                   "files": len(found.files), "by_stage": found.by_stage})  # fmt: skip
        return
    show_table([{"stage": name, "bytes": size} for name, size in found.by_stage.items()])
    say(
        f"{'removed' if remove else 'would remove'} {found.bytes:,} bytes in {len(found.files):,} "
        f"files; {found.kept_bytes:,} bytes stay" + ("" if remove else "; --remove does it")
    )


def _stages_folder(place: Path) -> str:
    if place.is_file():
        place = run_folder(place)
    for folder in (place / "corpus" / "stages", place / "stages", place):
        if (folder / "builds").is_dir():
            return str(folder)
    raise UserError(f"{place}: no stages of a corpus here; give a run's folder or its recipe")
