"""`skywright tokens`: build, info, check, plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    step_folder,
)

app = typer.Typer(help="Token shards and the order in which they are read.", no_args_is_help=True)


@app.command(epilog="Example: skywright tokens build recipes/laptop.yaml")
def build(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Turn the recipe's corpus into token shards."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="tokens")


@app.command(epilog="Example: skywright tokens info runs/laptop")
def info(where: Place, as_json: Json = False) -> None:
    """Tokens, documents and bytes by source."""
    manifest = read_summary(where, "tokens", "manifest.json")
    if as_json:
        show_json(manifest)
    else:
        sources = manifest["sources"]
        show_table(
            [
                {"source": name, **{key: sources[name][key] for key in
                                    ("tokens", "documents", "bytes")}}
                for name in sorted(sources)
            ]
        )  # fmt: skip


@app.command(epilog="Example: skywright tokens check runs/laptop")
def check(where: Place) -> None:
    """Compare every shard with its checksum."""
    from skywright.tokens import Shards

    folder = step_folder(where, "tokens")
    Shards.open(folder).check()
    say(f"{folder}: every file has the bytes that the manifest names")


@app.command(epilog="Example: skywright tokens plan recipes/skywork-13b.yaml --html plan.html")
def plan(
    recipe: RecipePath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    html: Annotated[
        Path | None, typer.Option(help="Draw the plan into this HTML file.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """What the model will see: tokens, shares and epochs by segment, before anything is trained.

    Sources that are not built yet count as large as the recipe expects them (expected_tokens).
    """
    from skywright.run import load_recipe
    from skywright.run.steps import expected_plan, training_plan
    from skywright.tokens.summary import rows, summary

    loaded = load_recipe(recipe, overrides or (), workdir)
    built = (loaded.workdir / "tokens" / "current").exists()
    made = (
        training_plan(loaded, step_folder(loaded.workdir, "tokens"))
        if built
        else expected_plan(loaded)
    )
    told = summary(made)
    if as_json:
        show_json(told)
    else:
        if not built:
            say("No shards yet: sources count as large as the recipe expects them.")
        show_table(rows(told))
    if html is not None:
        from skywright.report import plan_page

        plan_page(loaded.name, told, html)
        say(f"drawn in {html}")
