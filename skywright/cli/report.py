"""`skywright report`: one HTML file of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's folder.", metavar="RUN")],
    out: Annotated[
        Path | None, typer.Option(help="Where the file goes (default: RUN/report.html).")
    ] = None,
) -> None:
    """Draw the report of a run from what its steps wrote; computes nothing anew."""
    from skywright.errors import UserError
    from skywright.report import build

    if not (run / "recipe.resolved.yaml").is_file():
        raise UserError(f"{run}: no run here (recipe.resolved.yaml is missing); check the folder")
    print(build(run, out or run / "report.html"))
