"""Options and checks that the commands of `skywright eval` share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from skywright.errors import UserError

if TYPE_CHECKING:
    from skywright.evaluate.models import EvaluatedModel

Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1; auto spreads over all there are.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Doctor = Annotated[bool, typer.Option(help="Check each model before its first score.")]


def own_name(path: str) -> str:
    """What a folder or file is called, also where the path is "." or ends in ".."."""
    return os.path.basename(os.path.abspath(path))


def named_model(text: str) -> EvaluatedModel:
    """FOLDER, named after itself, or NAME=FOLDER; `UserError` if either is empty."""
    name, given, path = text.partition("=")
    if not given or "/" in name:  # an equals sign within a path
        name, path = own_name(text), text
    if not (text and name and path):
        raise UserError(f"model {text!r}: write FOLDER, or NAME=FOLDER")
    return {"name": name, "path": path, "tokens": 0, "segment": ""}


def refuse_unused(context: typer.Context, models: Sequence[str]) -> None:
    """Wrong usage if an option was given that a model's back-end has no use for."""
    from skywright.evaluate.backends.llama import PREFIX
    from skywright.evaluate.backends.server import is_address

    names: tuple[str, ...]
    for model in models:
        if is_address(model):
            names, reason = ("device", "dtype"), "a server computes where and in what it chooses"
        elif model.startswith(PREFIX):
            names = ("device", "dtype", "concurrency")
            reason = "llama.cpp computes on cpu, in the dtype of the file, a window at a time"
        else:
            names, reason = ("concurrency",), "it goes with servers, and this model runs here"
        for name in names:
            source = context.get_parameter_source(name)
            if source is not None and source.name == "COMMANDLINE":
                raise typer.BadParameter(
                    f"not with {model}: {reason}; leave it out", param_hint=f"--{name}"
                )
