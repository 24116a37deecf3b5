"""`skywright train`: the training step of a recipe."""

from __future__ import annotations

from skywright.cli.shared import Engine, Json, Overrides, RecipePath, Workdir, run_steps


def train(
    recipe: RecipePath, workdir: Workdir = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Train the recipe's model on its token shards; goes on from the last checkpoint."""
    run_steps(recipe, overrides, workdir, Engine.processes, as_json, only="train")
