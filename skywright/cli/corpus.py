"""`skywright corpus`: build, status, waterfall, why, remove, export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import (
    Engine,
    EngineOption,
    Json,
    Overrides,
    Place,
    RecipePath,
    Workdir,
    read_summary,
    run_steps,
    step_folder,
)
from skywright.errors import UserError

app = typer.Typer(
    help="Clean documents from raw pages; every drop can say why.", no_args_is_help=True
)


class Form(StrEnum):
    """What an export is written as."""

    jsonl = "jsonl"
    parquet = "parquet"


@app.command(epilog="Example: skywright corpus build recipes/laptop.yaml")
def build(
    recipe: RecipePath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    engine: EngineOption = Engine.processes,
    as_json: Json = False,
) -> None:
    """Build the recipe's corpus."""
    run_steps(recipe, overrides, workdir, engine, as_json, only="corpus")


@app.command(epilog="Example: skywright corpus status runs/laptop")
def status(where: Place, as_json: Json = False) -> None:
    """Records in, documents kept, by source and language."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
        return
    say(f"{found['kept']:,} of {found['input_records']:,} records kept")
    show_table([{"source": name, **row} for name, row in found["by_source"].items()])


@app.command(epilog="Example: skywright corpus waterfall runs/laptop")
def waterfall(where: Place, as_json: Json = False) -> None:
    """What each step and rule dropped."""
    found = read_summary(where, "corpus", "waterfall.json")
    if as_json:
        show_json(found)
    else:
        show_table(found["steps"])


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
    from skywright.run import load_recipe, takedown

    recipe = load_recipe(where if where.is_file() else where / "recipe.resolved.yaml")
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
) -> None:
    """Write the kept documents as JSONL.zst or Parquet."""
    from skywright.corpus.export import export as write

    for path in write(step_folder(where, "corpus"), out, form.value):
        print(path)
