"""Options and helpers that several commands share."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from skywright.cli.console import progress_bar, say, show_json
from skywright.errors import UserError

if TYPE_CHECKING:
    from skywright.engine.settings import EngineConfig
    from skywright.run import StepResult


class Engine(StrEnum):
    """Where the corpus stages run."""

    processes = "processes"
    inline = "inline"
    ray = "ray"


RecipePath = Annotated[Path, typer.Argument(help="A recipe file (YAML).", metavar="RECIPE")]
Place = Annotated[
    Path,
    typer.Argument(help="A recipe, a run's folder, or the step's own folder.", metavar="WHERE"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a value of the recipe: --set a.b=c (repeatable)."),
]
Workdir = Annotated[
    Path | None, typer.Option("--workdir", help="Where the run's folders go (default: recipe's).")
]
EngineOption = Annotated[Engine, typer.Option("--engine", help="Where corpus stages run.")]
RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray-address", help="The Ray cluster for --engine ray (default: a local one).",
        metavar="HOST:PORT",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def can_be_written(folder: Path) -> Path:
    """The folder as it is, or wrong usage if a file or a missing right stands in its way."""
    place = os.path.abspath(folder)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise typer.BadParameter(f"{place} is a file; name a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{place} may not be written to; name another folder")
    return folder


def is_finite(number: float) -> float:
    """The number as it is, or wrong usage if it is infinite or none."""
    if not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


def engine_config(engine: Engine, ray_address: str | None = None, **settings: Any) -> EngineConfig:
    """The engine's settings from a command's options."""
    from skywright.engine.settings import EngineConfig

    if ray_address and engine is not Engine.ray:
        raise UserError("--ray-address goes with --engine ray; give both or none")
    return EngineConfig(executor=engine.value, ray_address=ray_address, **settings)


def run_steps(
    recipe: Path,
    overrides: Sequence[str] | None,
    workdir: Path | None,
    engine: Engine | EngineConfig,
    as_json: bool,
    only: str | None = None,
    start: str | None = None,
    dry_run: bool = False,
    wait: bool = False,
) -> list[StepResult]:
    """Run a recipe's steps and say what each one did; `wait` for another run in the folder.

    Returns what was done: nothing of a dry run, and in all processes of a world but the first.
    """
    from skywright.parallel.world import joined
    from skywright.run import Recipe, load_corpus_recipe, plan_steps, run_recipe

    loaded = load_corpus_recipe(recipe, overrides or (), workdir)
    config = engine_config(engine) if isinstance(engine, Engine) else engine
    if dry_run:
        rows = plan_steps(loaded, only, start)
        if as_json:
            show_json(rows)
        else:
            for row in rows:
                state = "is done" if row["done"] else "would run"
                say(f"{row['step']:<10} {state}  {row['folder']}")
        return []
    with (
        joined(loaded.train.device if isinstance(loaded, Recipe) else "cpu") as world,
        progress_bar(quiet=as_json or not world.is_first) as progress,
    ):
        results = []
        for result in run_recipe(loaded, only, start, config, progress, world, wait):
            results.append(result)
            if not as_json:
                how = "already done" if result.skipped else f"done in {result.seconds:.0f} s"
                say(f"{result.name:<10} {how}  {result.folder}")
    if as_json and world.is_first:
        show_json(
            [
                {"step": r.name, "folder": str(r.folder), "seconds": r.seconds,
                 "skipped": r.skipped}
                for r in results
            ]
        )  # fmt: skip
    elif results and results[-1].name == "report":
        print(results[-1].folder / "report.html")
    return results


def run_folder(recipe: Path) -> Path:
    """The `workdir` of a recipe. Nothing else of it is looked at: a question about a run loads none
    of the libraries that a run needs.
    """
    from skywright.config import read

    workdir = read(recipe)[0].get("workdir")
    if not isinstance(workdir, str):
        raise UserError(f"{recipe}: the key 'workdir' is missing; add it, or give the run's folder")
    return Path(workdir)


def step_folder(place: Path, step: str) -> Path:
    """The folder of a finished step: from a recipe, a run's folder, or the folder itself."""
    if place.is_file():
        place = run_folder(place)
    for folder in (place / step / "current", place):
        if (folder / "step.json").is_file() and (folder != place or place.parent.name == step):
            return folder.resolve()
    make = "corpus build RECIPE" if step == "corpus" else f"run RECIPE --only {step}"
    raise UserError(f"{place}: no finished step {step!r} here; run `skywright {make}` first")


def read_summary(place: Path, step: str, name: str = "summary.json") -> Any:
    """The JSON summary of a finished step."""
    from skywright.engine.files import read_json

    return read_json(step_folder(place, step) / name)
