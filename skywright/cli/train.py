"""`skywright train`: the training step of a recipe."""

from __future__ import annotations

from skywright.cli.console import say, show_json
from skywright.cli.shared import Json, Overrides, RecipePath, Workdir


def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train the recipe's model on its token shards; goes on from the last checkpoint.

    Exits with 130 after Ctrl-C, 143 after SIGTERM and 140 after SIGUSR2, having saved; with 124
    if nothing moved for train.hang_after.
    """
    from skywright.run import load_recipe, run_recipe
    from skywright.train.view import View

    loaded = load_recipe(recipe, overrides or (), workdir)
    with View(quiet=as_json) as view:
        (result,) = run_recipe(loaded, only="train", progress=view)
    if as_json:
        show_json(
            [
                {
                    "step": result.name,
                    "folder": str(result.folder),
                    "seconds": result.seconds,
                    "skipped": result.skipped,
                }
            ]
        )
    else:
        how = "already done" if result.skipped else f"done in {result.seconds:.0f} s"
        say(f"{result.name:<10} {how}  {result.folder}")
