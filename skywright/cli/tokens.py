"""`skywright tokens`: build, info, check, plan, export, import."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from skywright.cli.console import progress_bar, say, show_json, show_table
from skywright.cli.shared import (
    Engine,
    Json,
    Overrides,
    RecipePath,
    Workdir,
    run_steps,
    step_folder,
)
from skywright.errors import UserError

if TYPE_CHECKING:
    from skywright.tokens import Shards

app = typer.Typer(help="Token shards and the order in which they are read.", no_args_is_help=True)


@app.command(epilog="Example: skywright tokens build recipes/laptop.yaml")
def build(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Turn the recipe's corpus into token shards."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="tokens")


ShardsPlace = Annotated[
    str,
    typer.Argument(
        help="A recipe, a run's folder, a shard folder, or its address on an object store.",
        metavar="WHERE",
    ),
]


def shards_at(where: str) -> Shards:
    """The shards of a recipe, a run, or a folder of shards, here or on an object store."""
    from skywright.tokens import Shards

    if "://" in where or (Path(where) / "manifest.json").is_file():
        return Shards.open(where)
    return Shards.open(step_folder(Path(where), "tokens"))


@app.command(epilog="Example: skywright tokens info runs/laptop")
def info(where: ShardsPlace, as_json: Json = False) -> None:
    """Tokens, documents and bytes by source."""
    rows = [
        {"source": name, "tokens": found.tokens, "documents": found.documents,
         "bytes": found.bytes, "bytes per token": found.bytes / max(found.tokens, 1),
         "shards": len(found.shards)}
        for name, found in sorted(shards_at(where).manifest.sources.items())
    ]  # fmt: skip
    show_json(rows) if as_json else show_table(rows)


@app.command(epilog="Example: skywright tokens check runs/laptop")
def check(where: ShardsPlace) -> None:
    """Compare every shard with its checksum."""
    shards = shards_at(where)
    with progress_bar() as progress:
        shards.check(progress)
    say(f"{shards.folder}: every file has the bytes that the manifest names")


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


class System(StrEnum):
    """Whose token files are written or read."""

    megatron = "megatron"
    datatrove = "datatrove"


@app.command(epilog="Example: skywright tokens export runs/laptop exported --to megatron")
def export(
    where: ShardsPlace,
    out: Annotated[Path, typer.Argument(help="The folder to write into.")],
    to: Annotated[System, typer.Option(help="Whose files to write.")],
    source: Annotated[
        list[str] | None, typer.Option(help="A source to export (repeatable; default: all).")
    ] = None,
    without_bos: Annotated[
        bool, typer.Option("--without-bos", help="Leave out the BOS of every document.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write token shards as Megatron's .bin and .idx or datatrove's .ds files."""
    from skywright.tokens.transfer import export as export_source

    shards = shards_at(where)
    rows = []
    for name in source or sorted(shards.manifest.sources):
        written = export_source(shards, name, to.value, out, keep_bos=not without_bos)
        rows.append({"source": name, **written._asdict()})
    show_json(rows) if as_json else show_table(rows)


@app.command(
    "import",
    epilog="Example: skywright tokens import shards web=data/web_text --from megatron "
    "--tokenizer runs/laptop/tokenizer/current",
)
def import_(
    out: Annotated[Path, typer.Argument(help="The shard folder to make.")],
    sources: Annotated[
        list[str], typer.Argument(help="NAME=PATH: a Megatron prefix or a .ds file for a source.")
    ],
    system: Annotated[System, typer.Option("--from", help="Whose files they are.")],
    tokenizer: Annotated[Path, typer.Option(help="The tokenizer that they were made with.")],
    as_json: Json = False,
) -> None:
    """Make a shard folder of Megatron's or datatrove's files; missing BOS and EOS are added."""
    from skywright.tokenizer import Tokenizer
    from skywright.tokens.transfer import import_sources

    named = [item.partition("=") for item in sources]
    for name, _, path in named:
        if not (name and path):
            raise UserError(f"{name}: write each source as NAME=PATH")
    with progress_bar(quiet=as_json) as progress:
        manifest = import_sources(
            system.value,
            {name: Path(path) for name, _, path in named},
            Tokenizer.load(tokenizer),
            out,
            progress,
        )
    rows = [
        {"source": name, "tokens": found.tokens, "documents": found.documents,
         "bytes": found.bytes}
        for name, found in manifest.sources.items()
    ]  # fmt: skip
    show_json(rows) if as_json else show_table(rows)
