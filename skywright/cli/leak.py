"""`skywright leak`: was a benchmark in the training data?"""

from __future__ import annotations

import typer

from skywright.cli.console import say, show_json, show_table
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

app = typer.Typer(help="Was a benchmark in the training data?", no_args_is_help=True)


@app.command(epilog="Example: skywright leak score recipes/laptop.yaml")
def score(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Score the recipe's checkpoints on the test, train and reference sets."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="leak")


@app.command(epilog="Example: skywright leak report runs/laptop")
def report(where: Place, as_json: Json = False) -> None:
    """Losses, deltas and verdict of each checkpoint."""
    summary = read_summary(where, "leak")
    if as_json:
        show_json(summary)
        return
    columns = ("test", "train_seen", "train_unseen", "reference", "delta1", "delta2",
               "seen_minus_unseen")  # fmt: skip
    show_table(
        [
            {"model": row["model"], **{name: row[name] and row[name]["value"] for name in columns},
             "verdict": row["verdict"]}
            for row in summary["models"]
        ]
    )  # fmt: skip
    for row in summary["models"]:
        say(f"{row['model']}: {row['verdict']}: {row['reason']}")
