"""`skywright run`: the whole way, from pages to report."""

from __future__ import annotations

from typing import Annotated

import typer

from skywright.cli.shared import (
    Engine,
    EngineOption,
    Json,
    Overrides,
    RayAddress,
    RecipePath,
    Workdir,
    engine_config,
    run_steps,
)


def run(
    recipe: RecipePath,
    only: Annotated[
        str | None, typer.Option(help="Run this step alone; what it needs must be done.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Start at this step; earlier ones must be done.")
    ] = None,
    workdir: Workdir = None,
    overrides: Overrides = None,
    engine: EngineOption = Engine.processes,
    ray_address: RayAddress = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which steps would run; change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run every step of a recipe; finished steps are skipped, killed ones go on."""
    config = engine_config(engine, ray_address)
    run_steps(recipe, overrides, workdir, config, as_json, only, start, dry_run)
