"""`skywright generate`: what a model goes on with."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from skywright.cli.console import show_json
from skywright.cli.shared import Json


def generate(
    model: Annotated[Path, typer.Argument(help="A training checkpoint or a Hugging Face folder.")],
    prompt: Annotated[str, typer.Argument(help="The text to go on from; '-' reads it from stdin.")],
    tokens: Annotated[int, typer.Option(min=1, help="Make at most as many tokens.")] = 128,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")
    ] = 0.8,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Draw from the likeliest tokens of this mass.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same text.")] = 0,
    as_json: Json = False,
) -> None:
    """Print the prompt and the model's continuation of it."""
    from skywright.checkpoint import load_model
    from skywright.model.generate import SamplingConfig, Vocabulary, continuation

    if prompt == "-":
        prompt = sys.stdin.read()
    config = SamplingConfig(tokens=tokens, temperature=temperature, top_p=top_p, seed=seed)
    loaded = load_model(model)
    pieces = continuation(loaded, Vocabulary(model), prompt, config)
    if as_json:
        show_json({"prompt": prompt, "continuation": "".join(pieces), **config.model_dump()})
        return
    for piece in chain([prompt], pieces):
        print(piece, end="", flush=True)
    print()
