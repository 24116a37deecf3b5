"""A run to ask about: a model by name, with the settings it was trained with, or a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator

from skywright.config import Config, load
from skywright.model.config import ModelConfig
from skywright.model.flops import parameters
from skywright.model.presets import preset
from skywright.parallel.config import ParallelConfig
from skywright.planner.software import SoftwareName
from skywright.planner.workload import Workload

if TYPE_CHECKING:
    from skywright.train.config import TrainConfig

_FOLDER = Path(__file__).parent / "settings"
_LADDER = "ladder"

TOKENS_PER_PARAMETER = 20
"""Tokens of a ladder's run, a parameter of the body (Hoffmann et al. 2022, table 3)."""


def _with_preset(value: Any) -> Any:
    """`{preset: NAME, ...}` as that model's shape with what follows laid over it."""
    if isinstance(value, dict) and "preset" in value:
        changes = dict(value)
        return preset(changes.pop("preset")).model_dump() | changes
    return value


class PlannedRun(Config):
    """A model, what it is trained on, and where.

    `precision` and `exports` matter on a processor only; `sources` says where a published run's
    figures are from.
    """

    name: str
    model: Annotated[ModelConfig, BeforeValidator(_with_preset)]
    workload: Workload
    hardware: str
    layout: ParallelConfig = ParallelConfig()
    software: SoftwareName
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    exports: bool = True
    sources: dict[str, str] = {}


def load_preset(name: str, overrides: Sequence[str] = ()) -> PlannedRun:
    """The model of this name (`skywright.model.presets`) as it was trained, or, of the small
    ladder, as it might be; with `a.b=c` overrides (`model.layers=26`).

    Raises UserError if there is none of that name, or if an override does not fit.
    """
    name = name.lower()
    shape = preset(name)
    path = _FOLDER / f"{name}.yaml"
    values = [f"name={name}", f"model.preset={name}"]
    if name.startswith(_LADDER):
        path = _FOLDER / f"{_LADDER}.yaml"
        values.append(f"workload.tokens={TOKENS_PER_PARAMETER * parameters(shape)['body']}")
    return load(path, PlannedRun, [*values, *overrides])


def of_recipe(
    name: str, model: ModelConfig, train: TrainConfig, layout: ParallelConfig | None = None
) -> PlannedRun:
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
        layout=layout or ParallelConfig(),
        software="skywright",
        precision=train.precision,
        exports=train.export_at_segment_ends or train.export_every is not None,
    )
