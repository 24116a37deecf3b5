"""A training run in one process on a processor: its peak memory by phase, and its time.

What is held was read off `skywright.train` and `skywright.model`, and is checked against autograd's
own list by the tests. Models in LLaMA's form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skywright.model.config import ModelConfig
from skywright.model.flops import flops_per_token, parameters
from skywright.planner.hardware import HardwareConfig
from skywright.planner.layout import LayoutConfig, Workload
from skywright.planner.shape import Shape

Precision = Literal["bf16", "fp32"]
_VALUE = {"bf16": 2, "fp32": 4}
ONE_PROCESS = LayoutConfig()

BLOCK_ROWS, BLOCK_CONTEXT_TOKENS = 64, 1024
"""Rows of attention scores at a time, up to how long a sequence (`skywright.model.attention`)."""
HEAD_CHUNK_ROWS = 256
"""Rows of logits at a time (`skywright.model.head`)."""

ALLOCATOR_FACTOR = 1.4
"""Resident over live bytes of what a step allocates and frees: the C library keeps freed blocks and
cannot fit every new one into them. Measured with glibc 2.36 in six runs of 69M parameters (128 to
4,096 tokens, one or two micro-batches, bf16 and fp32): 1.33 to 1.70; with 1.4 all six peaks are met
within 6 %."""
EXPORT_FACTOR = 1.04
"""The same for an export, which makes few and large blocks: measured 12.46 bytes a parameter, where
12 are live."""
EXPORT_BYTES = 12
"""Bytes a parameter that writing and checking a Hugging Face folder adds: the fp32 model to write,
our copy to compare with, and transformers' reading of the folder."""
LIBRARIES_BYTES = 0.5e9
"""Interpreter and libraries before anything is trained, transformers among them (measured 0.50 GB
with torch 2.13 for the CPU); not part of the peak below, which is what the run itself adds."""

PASS_BYTES = {"bf16": 1200, "fp32": 1700}
"""Time of a layer beyond its matrix products, as bytes copied a token and unit of width. Measured
eager on one core of an AMD EPYC (Zen 4), widths 192 to 768, as (time - products at the rate of a
1,024-cubed one) x copy rate: 1,000 to 1,750 in bf16. It is conversions, exponentials and calls as
much as memory."""
LOGIT_BYTES = {"bf16": 92, "fp32": 120}
"""The same for the loss, a logit: 78 to 260 in bf16, the most with few tokens a batch."""
STEP_BYTES = {"bf16": 48, "fp32": 32}
"""The same for summing gradients, clipping and AdamW, a parameter: 45 to 62 in bf16."""


TIME_TERMS: dict[str, str] = {
    "matmul": "products of weights and of attention (causal) at the measured peak",
    "layers": "all else in the layers, as bytes copied at the measured rate",
    "loss": "all else in the loss, likewise",
    "optimizer": "summed gradients, clipping, AdamW, likewise",
}


def precision_on(hardware: HardwareConfig, wanted: Literal["auto", "bf16", "fp32"]) -> Precision:
    """What training would take for `auto`: bf16 where the processor multiplies it faster."""
    if wanted != "auto":
        return wanted
    return "bf16" if hardware.bf16_flops > hardware.fp32_flops else "fp32"


@dataclass(frozen=True)
class CpuMemory:
    """Bytes of one process beyond what imports take."""

    state: dict[str, float]  # held throughout
    phases: dict[str, float]  # resident bytes that each phase adds
    buffers: dict[str, float]  # live bytes of a step's parts

    @property
    def state_bytes(self) -> float:
        """Weights, masters and moments."""
        return sum(self.state.values())

    @property
    def fullest(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=lambda name: self.phases[name])

    @property
    def peak_bytes(self) -> float:
        """State and the fullest phase."""
        return self.state_bytes + self.phases[self.fullest]


def layer_kept_bytes(shape: Shape, sequence_tokens: int, precision: Precision) -> float:
    """Bytes a token that one layer keeps for its backward pass, b bytes a value.

    Each norm keeps its input and its result in fp32 and an fp32 scale: 2 (8 h + 4). The products
    keep their inputs: b (2 h + w). Attention keeps query, key and value, the last two repeated for
    every head: 3 b w; and its probabilities up to the diagonal's blocks, or, in longer sequences,
    an fp32 log-sum-exp a head. The gated feed-forward block keeps gate, silu(gate), up and their
    product: 4 b f.
    """
    b = _VALUE[precision]
    kept = 2.0 * (8 * shape.hidden + 4) + b * (2 * shape.hidden + 4 * shape.width)
    kept += (4 if shape.ffn_matrices == 3 else 2) * b * shape.ffn
    if sequence_tokens > BLOCK_CONTEXT_TOKENS:
        return kept + 4.0 * shape.heads
    ends = [min(s + BLOCK_ROWS, sequence_tokens) for s in range(0, sequence_tokens, BLOCK_ROWS)]
    scores = sum((end - start) * end for start, end in zip([0, *ends[:-1]], ends, strict=True))
    return kept + b * shape.heads * scores / sequence_tokens


def ends_kept_bytes(shape: Shape, tokens: int, sequence_tokens: int, precision: Precision) -> float:
    """Bytes that are kept outside the layers: ids, rotary tables, the last norm, and both gradients
    of the head, which are made in the forward pass."""
    b = _VALUE[precision]
    rotary = b * sequence_tokens * shape.width // shape.heads
    return (8.0 + 8 * shape.hidden + 4 + b * shape.hidden) * tokens + rotary + b * shape.table


def peak_memory(
    model: ModelConfig, workload: Workload, precision: Precision, exports: bool = True
) -> CpuMemory:
    """Bytes by part and phase of `skywright train` in one process.

    State: the weights in bf16 (in fp32 they are the masters), fp32 masters, both moments. A step
    adds activations and the head's buffers; then the gradients in the weights' format; then their
    fp32 sum, which stays while further micro-batches run. `exports` adds the phase in which a
    Hugging Face folder is written and checked.
    """
    shape, b, count = Shape.of(model), _VALUE[precision], parameters(model)["total"]
    tokens = workload.micro_batch(ONE_PROCESS)
    accumulates = workload.global_batch_tokens > tokens
    layers = shape.layers * tokens * layer_kept_bytes(shape, workload.sequence_tokens, precision)
    logits = min(HEAD_CHUNK_ROWS, tokens) * shape.vocabulary * (4.0 + 2 * b)
    ends = ends_kept_bytes(shape, tokens, workload.sequence_tokens, precision)
    buffers = {
        "activations": layers + ends - b * shape.table,
        "head": b * shape.table + 4.0 * shape.table * (precision == "bf16") + logits,
        "gradients": float(b * count),
        "gradient sum": 4.0 * count,
    }
    summed = buffers["gradient sum"] if accumulates else 0.0
    # In fp32 the first micro-batch's gradients become the sum, without a copy.
    after = summed + (buffers["gradients"] if precision == "bf16" or accumulates else 0.0)
    live = {
        "forward": summed + buffers["activations"] + buffers["head"],
        "backward": after,
        "optimizer": buffers["gradient sum"],
    }
    phases = {name: ALLOCATOR_FACTOR * value for name, value in live.items()}
    if exports:
        phases["export"] = EXPORT_FACTOR * EXPORT_BYTES * count
    return CpuMemory(
        state={
            "weights": 2.0 * count if precision == "bf16" else 0.0,
            "masters": 4.0 * count,
            "moments": 8.0 * count,
        },
        phases=phases,
        buffers=buffers,
    )


def step_seconds(
    model: ModelConfig, workload: Workload, hardware: HardwareConfig, precision: Precision
) -> dict[str, float]:
    """Seconds of one optimizer step by part; validation, exports and checkpoints are not in it."""
    shape, tokens = Shape.of(model), workload.global_batch_tokens
    flops = flops_per_token(model, workload.sequence_tokens, "causal") * tokens
    peak = hardware.bf16_flops if precision == "bf16" else hardware.fp32_flops
    rate = hardware.memory_bytes_per_s * hardware.memory_share
    return {
        "matmul": flops / (peak * hardware.matmul_share),
        "layers": PASS_BYTES[precision] * shape.hidden * shape.layers * tokens / rate,
        "loss": LOGIT_BYTES[precision] * shape.vocabulary * tokens / rate,
        "optimizer": STEP_BYTES[precision] * parameters(model)["total"] / rate,
    }
