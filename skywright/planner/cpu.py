"""A training run in one process on a processor: its peak memory by phase, and its time.

What is held was read off `skywright.train` and `skywright.model`, and is checked against autograd's
own list by the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from skywright.model.config import ModelConfig
from skywright.model.flops import flops_per_token, parameters
from skywright.parallel.config import ParallelConfig
from skywright.planner.hardware import HardwareConfig
from skywright.planner.memory import HEAD_CHUNK_ROWS
from skywright.planner.workload import Workload

Precision = Literal["bf16", "fp32"]
_VALUE = {"bf16": 2, "fp32": 4}
ONE_PROCESS = ParallelConfig()

BLOCK_ROWS, BLOCKED_CONTEXT_TOKENS = 64, 1024
"""Rows of attention scores at a time, up to how long a sequence (`skywright.model.attention`, which
is not imported: it needs torch)."""

ALLOCATOR_FACTOR = 1.4
"""Resident over live bytes of what a step allocates and frees: the C library keeps freed blocks and
cannot fit every new one into them. Measured with glibc 2.36 in thirteen runs of 23M to 83M
parameters (LLaMA and GPT, one or two micro-batches, bf16 and fp32): 1.20 to 1.56; with 1.4 all
their peaks are met within 9 %."""
EXPORT_FACTOR = 1.04
"""The same for an export, which makes few and large blocks: measured 1.03 to 1.09."""
EXPORT_BYTES = 12
"""Bytes a parameter that writing and checking a Hugging Face folder adds: the fp32 model to write,
our copy to compare with, and transformers' reading of the folder."""
LIBRARIES_BYTES = 0.5e9
"""Interpreter and libraries before anything is trained, transformers among them (measured 0.50 GB
with torch 2.13 for the CPU); not part of the peak below, which is what the run itself adds."""

PASS_BYTES = {"bf16": 1600, "fp32": 2100}
"""Time of a layer beyond its matrix products, as bytes copied a token and unit of width. It is
conversions, exponentials and calls as much as memory. This and the four below were fitted to 24
eager steps, LLaMA and GPT, on one core of an AMD EPYC (Zen 4), widths 192 to 768, as (time -
products at the rate of a 1,024-cubed one) x copy rate; all are met within 10 %."""
DROPOUT_BYTES = 450
"""The same for drawing and applying dropout's two masks."""
LOGIT_BYTES = {"bf16": 75, "fp32": 92}
"""The same for the loss, a logit."""
TABLE_BYTES = {"bf16": 300, "fp32": 100}
"""The same for the gradients of embedding and head, a value of the table and micro-batch: they are
summed in fresh fp32 memory, however few the tokens."""
STEP_BYTES = {"bf16": 48, "fp32": 32}
"""The same for summing gradients, clipping and AdamW, a parameter and step."""


TIME_TERMS: dict[str, str] = {
    "matmul": "products of weights and of attention (causal) at the measured peak",
    "layers": "all else in the layers, as bytes copied at the measured rate",
    "loss": "all else in the loss, likewise",
    "tables": "gradients of embedding and head, each micro-batch, likewise",
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


def _norm_kept_bytes(model: ModelConfig, values: int, precision: Precision) -> float:
    """Bytes that a norm of `values` keeps. RMSNorm: input and result in fp32 and an fp32 scale.
    LayerNorm, one kernel: input, mean and scale as they come."""
    if model.architecture == "gpt":
        return _VALUE[precision] * (values + 2.0)
    return 8.0 * values + 4


def layer_kept_bytes(model: ModelConfig, sequence_tokens: int, precision: Precision) -> float:
    """Bytes a token that one layer keeps for its backward pass, b bytes a value.

    Besides its norms: the inputs of the products, b 2 h; dropout's two masks, which a processor
    keeps as factors, b 2 h; SwiGLU's gate, silu(gate), up and their product, b 4 f, or GELU's input
    and result, b 2 f. Attention keeps its query, key, value and result. By blocks (up to
    BLOCKED_CONTEXT_TOKENS) key and value are repeated for every head, b 4 w, and the probabilities
    up to the diagonal's blocks are kept. Torch's kernel keeps an fp32 log-sum-exp a head instead;
    after rotary positions its result is laid out head by head, and is kept again as the next
    product's input.
    """
    b, gpt = _VALUE[precision], model.architecture == "gpt"
    width, kv_width = (n * model.head_size for n in (model.heads, model.key_value_heads))
    kept = 2 * _norm_kept_bytes(model, model.hidden, precision) + 2.0 * b * model.hidden
    kept += 2.0 * b * model.hidden * (model.dropout > 0)
    kept += (2 if gpt else 4) * b * model.ffn_hidden
    if model.qk_norm:
        heads = model.heads + model.key_value_heads
        kept += heads * _norm_kept_bytes(model, model.head_size, precision)
    if sequence_tokens > BLOCKED_CONTEXT_TOKENS:
        return kept + b * ((2 if gpt else 3) * width + 2 * kv_width) + 4.0 * model.heads
    ends = [min(s + BLOCK_ROWS, sequence_tokens) for s in range(0, sequence_tokens, BLOCK_ROWS)]
    scores = sum((end - start) * end for start, end in zip([0, *ends[:-1]], ends, strict=True))
    return kept + b * (4 * width + model.heads * scores / sequence_tokens)


def ends_kept_bytes(
    model: ModelConfig, tokens: int, sequence_tokens: int, precision: Precision
) -> float:
    """Bytes that are kept outside the layers: ids, places, dropout's mask, the last norm, and both
    gradients of the head, which are made in the forward pass."""
    b = _VALUE[precision]
    each = 8.0 + _norm_kept_bytes(model, model.hidden, precision) + b * model.hidden
    each += b * model.hidden * (model.dropout > 0)
    place = 8 if model.architecture == "gpt" else b * model.head_size  # int64, or cosine and sine
    return each * tokens + place * sequence_tokens + b * model.vocab_size * model.hidden


def peak_memory(
    model: ModelConfig, workload: Workload, precision: Precision, exports: bool = True
) -> CpuMemory:
    """Bytes by part and phase of `skywright train` in one process.

    State: the weights in bf16 (in fp32 they are the masters), fp32 masters, both moments. A step
    adds activations and the head's buffers; then the gradients in the weights' format, the
    embedding's being made in fp32; then their fp32 sum, which stays while further micro-batches
    run. `exports` adds the phase in which a Hugging Face folder is written and checked.
    """
    b, count = _VALUE[precision], parameters(model)["total"]
    table, tokens = model.vocab_size * model.hidden, workload.micro_batch(ONE_PROCESS)
    summed = 4.0 * count if workload.global_batch_tokens > tokens else 0.0
    layers = model.layers * tokens * layer_kept_bytes(model, workload.sequence_tokens, precision)
    ends = ends_kept_bytes(model, tokens, workload.sequence_tokens, precision)
    narrow = precision == "bf16"
    logits = min(HEAD_CHUNK_ROWS, tokens) * model.vocab_size * (b + 4.0 * narrow)
    buffers = {
        "activations": layers + ends - b * table,
        # The gradient of its weights: a chunk's product, the fp32 sum, and that rounded.
        "head": (b + 4.0 + b * narrow) * table + logits,
        "gradients": float(b * count),
        "embedding": 4.0 * (table + tokens * model.hidden) * narrow,
        "gradient sum": 4.0 * count,
    }
    live = {
        "forward": summed + buffers["activations"] + buffers["head"],
        "backward": summed + buffers["gradients"] + buffers["embedding"],
        "optimizer": buffers["gradient sum"],
    }
    phases = {name: ALLOCATOR_FACTOR * value for name, value in live.items()}
    if exports:
        phases["export"] = EXPORT_FACTOR * EXPORT_BYTES * count
    return CpuMemory(
        state={
            "weights": 2.0 * count if narrow else 0.0,
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
    tokens = workload.global_batch_tokens
    flops = flops_per_token(model, workload.sequence_tokens, "causal") * tokens
    peak = hardware.bf16_flops if precision == "bf16" else hardware.fp32_flops
    rate = hardware.memory_bytes_per_s * hardware.memory_share
    each = PASS_BYTES[precision] + (DROPOUT_BYTES if model.dropout else 0)
    table = model.vocab_size * model.hidden * workload.micro_batches(ONE_PROCESS)
    return {
        "matmul": flops / (peak * hardware.matmul_share),
        "layers": each * model.hidden * model.layers * tokens / rate,
        "loss": LOGIT_BYTES[precision] * model.vocab_size * tokens / rate,
        "tables": TABLE_BYTES[precision] * table / rate,
        "optimizer": STEP_BYTES[precision] * parameters(model)["total"] / rate,
    }
