"""A run to ask about: a published model by name, or a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from skywright.config import Config, load
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.planner.layout import LayoutConfig, Workload
from skywright.planner.software import SoftwareName

if TYPE_CHECKING:
    from skywright.train.config import TrainConfig

_FOLDER = Path(__file__).parent / "models"


class PlannedRun(Config):
    """A model, what it is trained on, and where.

    `precision` and `exports` matter on a processor only; `sources` says where a published run's
    figures are from.
    """

    name: str
    model: ModelConfig
    workload: Workload
    hardware: str
    layout: LayoutConfig = LayoutConfig()
    software: SoftwareName
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    exports: bool = True
    sources: dict[str, str] = {}


def known_presets() -> list[str]:
    """Names of the published runs that are shipped."""
    return sorted(path.stem for path in _FOLDER.glob("*.yaml"))


def load_preset(name: str, overrides: Sequence[str] = ()) -> PlannedRun:
    """The published run `name`, with `a.b=c` overrides (`model.hidden=5120`).

    Raises UserError if there is none of that name, or if an override does not fit.
    """
    path = _FOLDER / f"{name.lower()}.yaml"
    if path.parent != _FOLDER or not path.is_file():
        raise UserError(f"model {name!r} is not known; name one of {', '.join(known_presets())}")
    return load(path, PlannedRun, overrides)


def of_recipe(name: str, model: ModelConfig, train: TrainConfig) -> PlannedRun:
    """A recipe's training, on this machine unless told otherwise."""
    return PlannedRun(
        name=name,
        model=model,
        workload=Workload(
            sequence_tokens=train.sequence_tokens,
            global_batch_tokens=train.global_batch_tokens,
            micro_batch_tokens=train.micro_batch_tokens,
            tokens=sum(segment.tokens for segment in train.segments),
        ),
        hardware="this",
        software="skywright",
        precision=train.precision,
        exports=train.export_at_segment_ends or train.export_every is not None,
    )
