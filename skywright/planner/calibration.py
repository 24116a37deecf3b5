"""The planner against the layouts table of the Skywork-13B report.

Three constants are fitted (`Calibration`), two for time and one for memory: on all rows, or on one
model's to be tested on the other's. Everything else comes from data sheets, published measurements
and counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from skywright.config import Config, load
from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig, parse_layout
from skywright.planner.hardware import load_hardware
from skywright.planner.memory import fullest, rank_memory
from skywright.planner.presets import PlannedRun, load_preset
from skywright.planner.software import SOFTWARE
from skywright.planner.throughput import Calibration, step_time
from skywright.planner.workload import Workload

TABLE = Path(__file__).with_name("skywork_table10.yaml")
DEVICES = 512

RAW = Calibration()
CALIBRATED = Calibration(compute_factor=1.212, tensor_factor=2.031, reserve_bytes=6.515e9)
"""Fitted on all consistent rows of the table (`fit(rows())`, which a test repeats)."""


class Row(Config):
    """One measured layout; `inconsistent` says why its tokens_per_s is not used."""

    model: str
    layout: str
    tokens_per_s: float | None = None
    mfu: float | None = None
    tflops: float | None = None
    memory_gb: float | None = None
    inconsistent: str | None = None

    @property
    def ran(self) -> bool:
        """Whether it fitted into memory."""
        return self.memory_gb is not None


class _Table(Config):
    source: str
    rows: list[Row]


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    """All rows of the table, those out of memory too."""
    return tuple(load(TABLE, _Table).rows)


def reported(model: ModelConfig, workload: Workload, layout: ParallelConfig) -> Row | None:
    """The table's row of just this model, batch and layout, if there is one."""
    for row in rows():
        preset = _preset(row.model)
        same_batch = workload.model_copy(update={"tokens": preset.workload.tokens})
        if (model, same_batch, layout.name) == (preset.model, preset.workload, row.layout):
            return row
    return None


@lru_cache(maxsize=8)
def _preset(name: str) -> PlannedRun:
    return load_preset(name)


def _tokens_per_s(row: Row, calibration: Calibration) -> float:
    preset = _preset(row.model)
    step = step_time(
        preset.model,
        preset.workload,
        parse_layout(row.layout, DEVICES),
        load_hardware(preset.hardware),
        SOFTWARE[preset.software],
        calibration,
    )
    return preset.workload.global_batch_tokens / DEVICES / step.seconds


def _memory_bytes(row: Row, calibration: Calibration) -> float:
    preset = _preset(row.model)
    ranks = rank_memory(
        preset.model,
        preset.workload,
        parse_layout(row.layout, DEVICES),
        SOFTWARE[preset.software],
        calibration.reserve_bytes,
    )
    return fullest(ranks).total_bytes


@dataclass(frozen=True)
class Comparison:
    """A row of the table and the planner's figures for it; errors are predicted / measured - 1."""

    row: Row
    tokens_per_s: float
    memory_gb: float
    out_of_memory: bool

    @property
    def time_error(self) -> float | None:
        """Of tokens a second; None where the row has no figure that can be trusted."""
        if self.row.tokens_per_s is None or self.row.inconsistent:
            return None
        return self.tokens_per_s / self.row.tokens_per_s - 1

    @property
    def memory_error(self) -> float | None:
        """Of memory; None where the row ran out of it."""
        return None if self.row.memory_gb is None else self.memory_gb / self.row.memory_gb - 1


def compare(chosen: Sequence[Row], calibration: Calibration) -> list[Comparison]:
    """The planner's figures for rows of the table."""
    out = []
    for row in chosen:
        memory = _memory_bytes(row, calibration)
        capacity = load_hardware(_preset(row.model).hardware).memory_bytes
        out.append(
            Comparison(row, _tokens_per_s(row, calibration), memory / 1e9, memory > capacity)
        )
    return out


def fit(chosen: Sequence[Row]) -> Calibration:
    """The constants with the least squares of relative errors over `chosen` rows.

    Seconds are linear in the two factors (while the same stage is slowest) and bytes in the
    reserve, so each is one linear least-squares problem.
    """
    timed = [row for row in chosen if row.tokens_per_s is not None and not row.inconsistent]
    sized = [row for row in chosen if row.memory_gb is not None]

    def seconds(compute: float, tensor: float) -> np.ndarray:
        trial = Calibration(compute_factor=compute, tensor_factor=tensor)
        return np.array([1 / _tokens_per_s(row, trial) for row in timed])

    measured = np.array([1 / float(row.tokens_per_s or 0) for row in timed])
    base = seconds(1, 1)
    columns = np.stack([seconds(2, 1) - base, seconds(1, 2) - base], 1)
    rest = base - columns.sum(1)
    factors, *_ = np.linalg.lstsq(columns / measured[:, None], 1 - rest / measured, rcond=None)
    named = np.array([_memory_bytes(row, Calibration(reserve_bytes=0)) for row in sized])
    bytes_ = np.array([1e9 * float(row.memory_gb or 0) for row in sized])
    reserve = ((1 - named / bytes_) / bytes_).sum() / (1 / bytes_**2).sum()
    return Calibration(
        compute_factor=float(factors[0]),
        tensor_factor=float(factors[1]),
        reserve_bytes=float(reserve),
    )


def leave_one_model_out() -> dict[str, tuple[Calibration, list[Comparison]]]:
    """For each model: the constants that the other model's rows give, and how they do on it."""
    models = sorted({row.model for row in rows()})
    out = {}
    for tested in models:
        calibration = fit([row for row in rows() if row.model != tested])
        out[tested] = calibration, compare([r for r in rows() if r.model == tested], calibration)
    return out
