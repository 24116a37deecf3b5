"""`skywright corpus`: build, status, waterfall, why, export, release, card, classifier."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from skywright.cli import classifier
from skywright.cli.console import say, show_json, show_table
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
app.add_typer(classifier.app, name="classifier")


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
    from skywright.run import load_recipe

    recipe = load_recipe(where) if where.is_file() else None
    config = recipe.corpus if recipe else None
    name = recipe.name if recipe else out.name
    for path in write(step_folder(where, "corpus"), out, config, form.value, name):
        print(path)


@app.command(epilog="Example: skywright corpus card runs/laptop")
def card(where: Place) -> None:
    """Print the data card: counts by language, source, quality and licence; what was dropped."""
    from skywright.corpus.card import card as write

    print(write(step_folder(where, "corpus"), where.stem), end="")
