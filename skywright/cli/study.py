"""`skywright study`: experiments that start from one checkpoint."""

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

app = typer.Typer(help="Experiments that start from one checkpoint.", no_args_is_help=True)


@app.command(epilog="Example: skywright study branch recipes/laptop.yaml")
def branch(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train on in-domain data alone from an early checkpoint; measure gain and harm."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="study")


@app.command(epilog="Example: skywright study report runs/laptop")
def report(where: Place, as_json: Json = False) -> None:
    """The benchmark and the domain losses before and after the branch."""
    summary = read_summary(where, "study")
    if as_json:
        show_json(summary)
        return
    rows = [{"measured": summary["benchmark"]["name"], **_values(summary["benchmark"])}]
    rows += [{"measured": row["domain"], **_values(row)} for row in summary["domains"]]
    show_table(rows)


def _values(row: dict) -> dict[str, float]:
    return {name: row[name]["value"] for name in ("before", "after", "difference")}
