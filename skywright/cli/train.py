"""`skywright train`: the training step of a recipe."""

from __future__ import annotations

from skywright.cli.console import say, show_json
from skywright.cli.shared import Json, Overrides, RecipePath, Workdir


def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train the recipe's model on its token shards; goes on from the last checkpoint.

    Started by torchrun, all processes train together, as the recipe's `parallel` says.

    Exits with 130 after Ctrl-C, 143 after SIGTERM and 140 after SIGUSR2, having saved; with 124
    if nothing moved for train.hang_after.
    """
    from skywright.parallel.world import joined
    from skywright.run import load_recipe, run_recipe
    from skywright.train.view import View

    loaded = load_recipe(recipe, overrides or (), workdir)
    with (
        joined(loaded.train.device) as world,
        View(quiet=as_json or not world.is_first) as view,
    ):
        results = [*run_recipe(loaded, only="train", progress=view, world=world)]
    if not results:  # the first process speaks for all
        return
    (result,) = results
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
