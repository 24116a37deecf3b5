"""Seconds of one optimizer step, term by term, and what follows: tokens a second, days, cost.

Compute is counted kernel by kernel at the rates the hardware file gives; links by bytes. Two
factors, 1 for the raw figure, carry what that leaves out (`skywright.planner.calibration`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from skywright.config import Config
from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig, layers_of_stages
from skywright.planner.hardware import HardwareConfig
from skywright.planner.links import gather_s, send_s
from skywright.planner.memory import GRADIENT, WEIGHT, stage_parameters
from skywright.planner.shape import Shape
from skywright.planner.software import Software
from skywright.planner.workload import Workload

TILE = (256, 128)
"""Outputs a multiprocessor makes at a time: cuBLAS's most efficient tile, either way up (NVIDIA,
Matrix Multiplication Background User's Guide, section 3)."""
LOGIT_BYTES = 26
"""Bytes moved a logit by the loss: bf16 to fp32 (6), maximum (4), exponential in place (8), sum
(4), gradient (4)."""
OPTIMIZER_BYTES = 12
"""Bytes moved a parameter each step over whole gradients: cleared, summed for the norm, scaled."""
ADAM_BYTES = 38
"""Bytes moved a parameter of the shard by AdamW: weight, gradient and moments read (16), weight and
moments written (12), bf16 copy made and put in place (4 + 2 + 4)."""


class Calibration(Config):
    """Constants that a table of measured runs fixes. The defaults are the raw figures.

    compute_factor  how much longer kernels take than at their best measured rates: clocks under a
                    power limit, gaps between kernels, small operations
    tensor_factor   how much longer tensor parallelism's collectives take than their bytes at the
                    link's best rate: medium messages, waiting for the slowest rank, split kernels
    reserve_bytes   memory of a GPU that no term names. Raw: 1.3 GB, the CUDA kernels alone (Hugging
                    Face, transformers documentation, "Model training anatomy")
    """

    compute_factor: float = 1.0
    tensor_factor: float = 1.0
    reserve_bytes: float = 1.3e9


@dataclass(frozen=True)
class StepTime:
    """One optimizer step. The terms are seconds of an average rank; they add up to the step."""

    terms: dict[str, float]
    micro_batches: int
    bubble: float  # (p - 1) / (m + p - 1), the textbook figure

    @property
    def seconds(self) -> float:
        """The whole step."""
        return sum(self.terms.values())


TERMS: dict[str, str] = {
    "matmul": "weights' products: 6 operations a weight and token, rounded up to whole waves",
    "attention": "6 L w T operations a token (causal)",
    "pointwise": "norms, rotary, residuals, activation and summed gradients: bytes over memory",
    "head": "the vocabulary's product and its loss",
    "recompute": "with checkpointing, the layers' forward pass again",
    "tensor_links": "4 all-gathers and 4 reduce-scatters a layer and micro-batch",
    "pipeline_links": "hidden states forward and their gradients back between stages",
    "idle": "filling and draining the pipeline, and waiting for its slowest stage",
    "data_links": "gradients summed over data ranks and weights gathered, as far as not hidden",
    "optimizer": "passes over gradients and state",
}


def wave_share(rows: int, columns: int, multiprocessors: int | None) -> float:
    """Part of the tiles' places that a product of rows x columns outputs fills (1 if unknown).

    The multiprocessors work in waves of one tile each; the last wave is rarely full.
    """
    if multiprocessors is None:
        return 1.0
    best = 0.0
    for high, wide in (TILE, TILE[::-1]):
        waves = ceil(ceil(rows / high) * ceil(columns / wide) / multiprocessors)
        best = max(best, rows * columns / (waves * multiprocessors * high * wide))
    return best


def product_s(tokens: int, outputs: int, inputs: int, hardware: HardwareConfig) -> list[float]:
    """Seconds of a linear map's products: forward, gradient of its input, of its weight."""
    best_rate = hardware.bf16_flops * hardware.matmul_share
    flops = 2.0 * tokens * outputs * inputs
    return [
        flops / (best_rate * wave_share(rows, columns, hardware.multiprocessors))
        for rows, columns in ((tokens, outputs), (tokens, inputs), (outputs, inputs))
    ]


@dataclass(frozen=True)
class _Layer:
    """Seconds of one layer for one micro-batch on one tensor rank."""

    matmul: float
    attention: float
    pointwise: float
    recompute: float
    links: float

    @property
    def total(self) -> float:
        return self.matmul + self.attention + self.pointwise + self.recompute + self.links


def step_time(
    model: ModelConfig,
    workload: Workload,
    layout: ParallelConfig,
    hardware: HardwareConfig,
    software: Software,
    calibration: Calibration,
) -> StepTime:
    """Seconds of one optimizer step by the names of `TERMS`.

    Pipeline: with m micro-batches and stages of t_i seconds a micro-batch, 1F1B and GPipe take
    sum(t_i) + (m - 1) max(t_i). The last stage also has the head.
    """
    shape, m = Shape.of(model), workload.micro_batches(layout)
    micro = workload.micro_batch(layout)
    layer = _layer(shape, workload, layout, hardware, calibration)
    head = _head_s(shape, micro, layout, hardware) * calibration.compute_factor
    ends = 2 * _exchange_s(shape, micro, layout, hardware) * calibration.tensor_factor
    sends = 0.0
    if layout.pipeline > 1:
        message = 2.0 * shape.hidden * micro / layout.split_norms
        sends = 2 * send_s(hardware, message, layout.tensor * layout.data)
    counts = [len(stage) for stage in layers_of_stages(shape.layers, layout.pipeline)]
    last = [stage == layout.pipeline - 1 for stage in range(layout.pipeline)]
    stages = [
        n * layer.total + sends + (head + ends) * is_last
        for n, is_last in zip(counts, last, strict=True)
    ]
    slowest, mean = max(stages), sum(stages) / layout.pipeline
    pipeline_s = sum(stages) + (m - 1) * slowest
    each = m * shape.layers / layout.pipeline  # layers x micro-batches of an average rank
    per_rank = m / layout.pipeline
    # Backward is two thirds of a micro-batch; what is hidden runs behind the last one, and with
    # zero 2 and 3, where every micro-batch has its exchange, behind all.
    hideable = slowest * (m if layout.zero >= 2 else 2 / 3 * software.overlap_gradients)
    owned = max(
        sum(stage_parameters(shape, layout, stage).values()) for stage in range(layout.pipeline)
    )
    exchange = _data_s(owned, m, layout, hardware)
    moved = OPTIMIZER_BYTES / (layout.shards if layout.zero >= 2 else 1)
    moved += ADAM_BYTES / (layout.shards if layout.zero >= 1 else 1)
    return StepTime(
        terms={
            "matmul": layer.matmul * each,
            "attention": layer.attention * each,
            "pointwise": layer.pointwise * each,
            "head": head * per_rank,
            "recompute": layer.recompute * each,
            "tensor_links": layer.links * each + ends * per_rank,
            "pipeline_links": sends * m,
            "idle": pipeline_s - m * mean,
            "data_links": max(0.0, exchange - hideable),
            "optimizer": moved * owned / _memory_rate(hardware),
        },
        micro_batches=m,
        bubble=(layout.pipeline - 1) / (m + layout.pipeline - 1),
    )


def _memory_rate(hardware: HardwareConfig) -> float:
    return hardware.memory_bytes_per_s * hardware.memory_share


def _layer(
    shape: Shape,
    workload: Workload,
    layout: ParallelConfig,
    hardware: HardwareConfig,
    calibration: Calibration,
) -> _Layer:
    tokens, t = workload.micro_batch(layout), layout.tensor
    forward = total = 0.0
    gates = shape.ffn_matrices - 1
    for outputs, inputs in (
        ((shape.width + 2 * shape.kv_width) // t, shape.hidden),
        (shape.hidden, shape.width // t),
        (gates * shape.ffn // t, shape.hidden),
        (shape.hidden, shape.ffn // t),
    ):
        seconds = product_s(tokens, outputs, inputs, hardware)
        forward, total = forward + seconds[0], total + sum(seconds)
    # Two products forward, four backward, and half of each matrix is ahead of the causal edge.
    flops = 6.0 * shape.width * workload.sequence_tokens * tokens / t
    attention = flops / (hardware.bf16_flops * hardware.attention_share)
    # Forward in bf16: norms read and write h twice (8 h), residuals read two and write one, twice
    # (12 h), dropout has two masks (2 h), rotary reads and writes queries and keys, the activation
    # reads gate and up and writes their product. Backward twice that, plus reading and writing the
    # fp32 gradient of each weight.
    rotary = 0 if shape.positions else 4 * (shape.width + shape.kv_width)
    once = (
        (20.0 + 2 * shape.dropout) * shape.hidden / layout.split_norms
        + (rotary + 2 * (gates + 1) * shape.ffn) / t
    ) * tokens
    summed = 2.0 * GRADIENT * shape.layer_parameters / t
    pointwise = (3 * once + summed) / _memory_rate(hardware)
    again = 0.0
    exchanges = 4
    if layout.checkpointing == "full":
        again = forward + attention / 3 + once / _memory_rate(hardware)
        exchanges = 6
    factor = calibration.compute_factor
    links = exchanges * _exchange_s(shape, tokens, layout, hardware)
    return _Layer(
        matmul=total * factor,
        attention=attention * factor,
        pointwise=pointwise * factor,
        recompute=again * factor,
        links=links * calibration.tensor_factor,
    )


def _exchange_s(
    shape: Shape, tokens: int, layout: ParallelConfig, hardware: HardwareConfig
) -> float:
    """An all-gather and a reduce-scatter of hidden states (or an all-reduce, which is both)."""
    return 2 * gather_s(hardware, 2.0 * shape.hidden * tokens, layout.tensor, 1)


def _head_s(shape: Shape, tokens: int, layout: ParallelConfig, hardware: HardwareConfig) -> float:
    vocabulary = shape.vocabulary // layout.tensor
    moved = LOGIT_BYTES * tokens * vocabulary + 2.0 * GRADIENT * shape.table / layout.tensor
    products = product_s(tokens, vocabulary, shape.hidden, hardware)
    return sum(products) + moved / _memory_rate(hardware)


def _data_s(
    parameters: float, micro_batches: int, layout: ParallelConfig, hardware: HardwareConfig
) -> float:
    """Seconds of what the data ranks exchange in a step for `parameters` of one rank.

    zero 0: gradients all-reduced. 1: gradients reduce-scattered, weights gathered. 2: the same,
    gradients in each micro-batch. 3: weights gathered forward and backward, gradients scattered,
    in each micro-batch. HSDP sums the shards over the copies once a step.
    """
    gradients, weights = GRADIENT * parameters, WEIGHT * parameters
    ranks, stride = layout.shards, layout.tensor
    scatter = gather_s(hardware, gradients, ranks, stride)
    gather = gather_s(hardware, weights, ranks, stride)
    copies = gather_s(hardware, gradients / ranks, layout.data // ranks, stride * ranks)
    if layout.zero == 0:
        return 2 * gather_s(hardware, gradients, layout.data, stride)
    each = {1: scatter + gather, 2: scatter * micro_batches + gather}.get(
        layout.zero, (scatter + 2 * gather) * micro_batches
    )
    return each + 2 * copies
