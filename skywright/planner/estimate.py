"""The planner's answers as plain dictionaries: what `skywright estimate` prints, and its JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.flops import parameters
from skywright.parallel.config import ParallelConfig, first_problem
from skywright.planner.calibration import CALIBRATED, RAW, reported
from skywright.planner.conventions import CONVENTIONS, flops_of, utilisation
from skywright.planner.cpu import LIBRARIES_BYTES, ONE_PROCESS, Precision, peak_memory, step_seconds
from skywright.planner.hardware import HardwareConfig
from skywright.planner.memory import fullest, rank_memory
from skywright.planner.software import Software
from skywright.planner.throughput import Calibration, step_time
from skywright.planner.workload import Workload, check

Answer = dict[str, Any]
DAY_S = 86_400


def changed(workload: Workload, **changes: Any) -> Workload:
    """`workload` with the changes that are not None. Raises UserError if they do not fit."""
    new = {name: value for name, value in changes.items() if value is not None}
    try:
        return Workload.model_validate(workload.model_dump() | new)
    except ValidationError as error:
        raise UserError(first_problem(error)) from None


def model_facts(model: ModelConfig, workload: Workload) -> Answer:
    """Parameters by part, and operations a token by convention."""
    return {
        "parameters": parameters(model),
        "flops_per_token": {
            name: flops_of(model, workload.sequence_tokens, name) for name in CONVENTIONS
        },
    }


def run_facts(
    model: ModelConfig,
    workload: Workload,
    tokens_per_s: float,
    devices: int,
    peak_flops: float,
    price: float | None,
) -> Answer:
    """What follows from tokens a second of one device: utilisation, days, device hours, cost."""
    seconds = workload.tokens / (tokens_per_s * devices)
    hours = seconds / 3600 * devices
    return {
        "tokens_per_s": tokens_per_s,
        "utilisation": {
            name: utilisation(
                flops_of(model, workload.sequence_tokens, name), tokens_per_s, peak_flops
            )
            for name in CONVENTIONS
        },
        "seconds": seconds,
        "days": seconds / DAY_S,
        "device_hours": hours,
        "cost_usd": None if price is None else hours * price,
    }


def on_gpus(
    model: ModelConfig,
    workload: Workload,
    layout: ParallelConfig,
    hardware: HardwareConfig,
    software: Software,
    tokens_per_s: float | None = None,
    price: float | None = None,
    flash: bool = True,
) -> Answer:
    """One layout: raw and calibrated time and memory, and the report's own row if there is one.

    `tokens_per_s`, a measured rate of one device, adds what follows from it; `price` in dollars a
    device and hour replaces the hardware file's. Raises UserError if model, batch and layout do not
    fit together.
    """
    check(model, layout, workload)
    price = hardware.price_per_device_hour if price is None else price

    def follows(rate: float) -> Answer:
        return run_facts(model, workload, rate, layout.processes, hardware.bf16_flops, price)

    def figures(calibration: Calibration) -> Answer:
        step = step_time(model, workload, layout, hardware, software, calibration)
        ranks = rank_memory(
            model, workload, layout, software, calibration.reserve_bytes, flash=flash
        )
        most = fullest(ranks)
        rate = workload.global_batch_tokens / layout.processes / step.seconds
        return {
            "constants": calibration.model_dump(),
            "step_s": step.seconds,
            "step_terms_s": step.terms,
            "micro_batches": step.micro_batches,
            "bubble": step.bubble,
            **follows(rate),
            "memory_bytes": most.total_bytes,
            "memory_stage": most.stage,
            "memory_terms_bytes": most.terms,
            "memory_by_stage_bytes": [rank.total_bytes for rank in ranks],
            "in_flight": most.in_flight,
            "parameters_of_rank": most.parameters,
            "fits": most.total_bytes <= hardware.memory_bytes,
        }

    row = reported(model, workload, layout)
    return {
        "layout": layout.name,
        "devices": layout.processes,
        "micro_batch_tokens": workload.micro_batch(layout),
        "raw": figures(RAW),
        "calibrated": figures(CALIBRATED),
        "measured": None if tokens_per_s is None else follows(tokens_per_s),
        "reported": None if row is None else row.model_dump(),
    }


def on_this_processor(
    model: ModelConfig,
    workload: Workload,
    hardware: HardwareConfig,
    precision: Precision,
    exports: bool = True,
    tokens_per_s: float | None = None,
    price: float | None = None,
) -> Answer:
    """One process on a CPU: peak memory by phase, seconds of a step by part, time of the run."""
    check(model, ONE_PROCESS, workload)
    memory = peak_memory(model, workload, precision, exports)
    parts = step_seconds(model, workload, hardware, precision)
    peak = hardware.bf16_flops if precision == "bf16" else hardware.fp32_flops
    price = hardware.price_per_device_hour if price is None else price
    rate = workload.global_batch_tokens / sum(parts.values())
    return {
        "precision": precision,
        "threads": hardware.threads,
        "peak_flops": peak,
        "step_s": sum(parts.values()),
        "step_terms_s": parts,
        **run_facts(model, workload, rate, 1, peak, price),
        "measured": None
        if tokens_per_s is None
        else run_facts(model, workload, tokens_per_s, 1, peak, price),
        "memory_bytes": memory.peak_bytes,
        "memory_phase": memory.fullest,
        "memory_state_bytes": memory.state,
        "memory_buffers_bytes": memory.buffers,
        "memory_phases_bytes": memory.phases,
        "libraries_bytes": LIBRARIES_BYTES,
        "fits": memory.peak_bytes + LIBRARIES_BYTES <= hardware.memory_bytes,
    }


def every_layout(
    model: ModelConfig, workload: Workload, devices: int, hardware: HardwareConfig
) -> list[ParallelConfig]:
    """Layouts worth comparing: tensor ranks inside a node, stages of equally many layers, ZeRO-1
    and FSDP, all in powers of two, where model and batch divide."""
    found = []
    for tensor in _powers(min(devices, hardware.devices_per_node)):
        for pipeline in _powers(devices // tensor):
            if devices % (tensor * pipeline) or model.layers % pipeline:
                continue
            data = devices // (tensor * pipeline)
            for zero in (1, 3):
                if zero == 3 and (pipeline > 1 or data == 1):
                    continue
                layout = ParallelConfig(data=data, tensor=tensor, pipeline=pipeline, zero=zero)
                try:
                    check(model, layout, workload)
                except UserError:
                    continue
                found.append(layout)
    return found


def best_first(answers: Sequence[Answer]) -> list[Answer]:
    """Those that fit into memory before those that do not, each by calibrated tokens a second."""
    return sorted(
        answers,
        key=lambda answer: (
            not answer["calibrated"]["fits"],
            -answer["calibrated"]["tokens_per_s"],
        ),
    )


def _powers(limit: int) -> list[int]:
    return [2**n for n in range(limit.bit_length()) if 2**n <= limit]
