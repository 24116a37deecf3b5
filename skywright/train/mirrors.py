"""Copies of a run's journals for TensorBoard, Weights & Biases and trackio.

Each package is imported only when its mirror is asked for. A resumed run writes on where its
checkpoint stands; what a mirror had got beyond that is purged (TensorBoard), or not taken twice
(the others).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.train.continuations import text_of
from skywright.train.watch import About, MonitorConfig, Watcher

_SCALARS = ("loss_nats", "lr", "grad_norm", "tokens_per_s", "mfu", "tokens")


def mirrors(config: MonitorConfig, out: Path) -> Iterator[Watcher]:
    """The mirrors that are asked for. Raises UserError if a package is not installed."""
    if config.tensorboard:
        _need("tensorboard", "tensorboard")
        writer = _need("torch.utils.tensorboard", "tensorboard").SummaryWriter
        yield TensorBoard(writer, out / "tensorboard")
    if config.wandb is not None:
        yield Tracker(_need("wandb", "wandb"), config.wandb, out)
    if config.trackio is not None:
        yield Tracker(_need("trackio", "trackio"), config.trackio, out)


def _need(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            f"train.monitor.{package}: the package {package} is not installed; "
            f"`pip install {package}`, or leave this mirror out (metrics.jsonl is always written)"
        ) from None


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a journal's line by name; those of domains are `domain/NAME/MEASURE`."""
    found = {name: line[name] for name in _SCALARS if line.get(name) is not None}
    for domain, row in line.get("domains", {}).items():
        for measure in ("nats_per_token", "bpb"):
            found[f"domain/{domain}/{measure}"] = row[measure]
    return found


def texts(line: Mapping[str, Any]) -> dict[str, str]:
    """The continuations of a journal's line by name, each behind its prompt."""
    return {
        f"continuation/{number}": f"{found['prompt']}{text_of(found)}"
        for number, found in enumerate(line["continuations"], 1)
    }


class TensorBoard:
    """Event files in a folder of the run."""

    def __init__(self, writer: Any, folder: Path) -> None:
        self._make, self._folder = writer, folder

    def begin(self, about: About) -> None:
        """Purge what lies beyond the checkpoint that is gone on from."""
        self._writer = self._make(str(self._folder), purge_step=about.done_step + 1)

    def step(self, line: Mapping[str, Any]) -> None:
        """Write the numbers of a step."""
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, global_step=line["step"])

    validation = step

    def continuations(self, line: Mapping[str, Any]) -> None:
        """Write the texts of a step, as they are: its pages would read them as Markdown."""
        for name, text in texts(line).items():
            indented = "\n".join(f"    {part}" for part in text.splitlines())
            self._writer.add_text(name, indented, global_step=line["step"])

    def end(self) -> None:
        """Close the files."""
        self._writer.close()


class Tracker:
    """A tracking service with `init`, `log` and `finish`, as Weights & Biases has them and trackio
    too. A run is known there by a hash of its folder's path, so a resumed one is the same."""

    def __init__(self, module: Any, project: str, out: Path) -> None:
        self._module, self._project = module, project
        self._out = out.resolve()

    def begin(self, about: About) -> None:
        """Begin the run there, or go on with it."""
        key = stable_hash(str(self._out))[:16]
        name = f"{self._out.name}-{key}"
        own = {"id": key} if self._module.__name__ == "wandb" else {}
        self._module.init(
            project=self._project,
            name=name,
            resume="allow",
            config={
                "parameters": about.parameters,
                "precision": about.precision,
                "threads": about.threads,
                "peak_flops": about.peak_flops,
            },
            **own,
        )

    def step(self, line: Mapping[str, Any]) -> None:
        """Send the numbers of a step."""
        self._module.log(scalars(line), step=line["step"])

    validation = step

    def continuations(self, line: Mapping[str, Any]) -> None:
        """Send the texts of a step."""
        self._module.log(texts(line), step=line["step"])

    def end(self) -> None:
        """Say that no more will come."""
        self._module.finish()
