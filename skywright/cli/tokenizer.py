"""`skywright tokenizer`: train and report."""

from __future__ import annotations

import typer

from skywright.cli.console import show_json, show_table
from skywright.cli.shared import (
    Engine,
    Json,
    Overrides,
    Place,
    RecipePath,
    Workdir,
    read_summary,
    run_steps,
)

COLUMNS = ("lang", "documents", "chars_per_token", "bytes_per_token", "byte_fallback_share")

app = typer.Typer(help="Train a tokenizer and see how it cuts.", no_args_is_help=True)


@app.command(epilog="Example: skywright tokenizer train recipes/laptop.yaml")
def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train the recipe's tokenizer on its corpus."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="tokenizer")


@app.command(epilog="Example: skywright tokenizer report runs/laptop")
def report(where: Place, as_json: Json = False) -> None:
    """Characters and bytes per token by language."""
    summary = read_summary(where, "tokenizer")
    if as_json:
        show_json(summary)
    else:
        show_table(summary["rows"], COLUMNS)
