"""`skywright train`: the training step of a recipe."""

from __future__ import annotations

from skywright.cli.shared import Engine, Json, Overrides, RecipePath, Workdir, run_steps


def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train the recipe's model on its token shards; goes on from the last checkpoint.

    The same as `skywright run RECIPE --only train`. Started by torchrun, all processes train
    together, as the recipe's `parallel` says.

    Exits with 130 after Ctrl-C, 143 after SIGTERM and 140 after SIGUSR2, having saved; with 124
    if nothing moved for train.hang_after.
    """
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="train")
