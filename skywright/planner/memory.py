"""Bytes that one rank holds at its fullest moment, term by term.

Weights multiply in bf16; masters, gradients and both moments are fp32, whatever the layout. The
fullest moment is a stage's last forward pass before its first backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig, layers_of_stages
from skywright.planner.shape import Shape
from skywright.planner.software import Software
from skywright.planner.workload import Workload

WEIGHT, GRADIENT, MASTER, MOMENTS = 2, 4, 4, 8
"""Bytes a parameter: bf16 copy, fp32 gradient, fp32 master, AdamW's two fp32 moments."""
HEAD_CHUNK_ROWS = 512
"""Rows of logits at a time where the head works in chunks (`skywright.model.head`)."""
LOGIT_WHOLE = 14
"""Bytes a logit where the table is whole: bf16, its fp32 copy, the softmax kept for the backward
pass, its fp32 gradient (Megatron-LM's vocab_parallel_cross_entropy on output.float())."""
LOGIT_CHUNKED = 6
"""Bytes a logit within a chunk: bf16, which its gradient takes over, and fp32 exponentials."""


@dataclass(frozen=True)
class RankMemory:
    """What a rank of one pipeline stage holds."""

    stage: int  # from 0
    in_flight: int  # micro-batches whose activations it holds at once
    parameters: float
    terms: dict[str, float]  # bytes by name

    @property
    def total_bytes(self) -> float:
        """Sum of the terms."""
        return sum(self.terms.values())


TERMS: dict[str, str] = {
    "weights": "bf16: 2 bytes a parameter of the rank; with zero 3, its share",
    "gradients": "fp32: 4 bytes a parameter; with zero 2 and 3, its share",
    "optimizer": "fp32 masters and AdamW's moments: 12 bytes a parameter; with zero, its share",
    "gathered": "zero 2: one layer's fp32 gradients, whole; zero 3: two layers' bf16 weights too",
    "activations": "kept for the backward pass: bytes a token and layer x layers x in flight",
    "head": "logits with their gradients; in chunks, also the head's gradient as it is summed",
    "temporary": "a layer's own gradients in the backward pass, sequence-parallel copies",
    "reserve": "CUDA context, NCCL and cuBLAS buffers, what the allocator cannot give out",
}


def kept_bytes_per_token(
    shape: Shape, sequence_tokens: int, layout: ParallelConfig, software: Software, flash: bool
) -> float:
    """Activations that a layer keeps for its backward pass, in bytes a token, on one tensor rank.

    In bf16 (2 bytes), after Korthikanti et al. 2022, section 4, without dropout in attention:

        inputs of both norms, their outputs     2 (2 h + 2 h), split only with sequence parallelism
        dropout's masks, where there is any     2 h, split likewise
        query, key, value; attention's output   2 (w + 2 kv + w)
        feed-forward                            2 x 3 f with a gate (gate, up, product), 4 f where
                                                silu(gate) is kept too; 2 x 2 f without a gate
        attention                               flash: one fp32 log-sum-exp a head and token;
                                                else one bf16 probability a head, token and token

    Skywork-13B: 32 h + 4 heads. With full checkpointing only the layer's input, 2 h, is kept.
    """
    norms = 2.0 * 4 * shape.hidden / layout.split_norms
    if layout.checkpointing == "full":
        return norms / 4
    if shape.dropout:
        norms += 2.0 * shape.hidden / layout.split_norms
    inner = 2.0 * (2 * shape.width + 2 * shape.kv_width)
    tensors = shape.ffn_matrices if shape.ffn_matrices == 2 or software.fused_swiglu else 4
    inner += 2.0 * tensors * shape.ffn
    inner += shape.heads * (4.0 if flash else 2.0 * sequence_tokens)
    return norms + inner / layout.tensor


def micro_batches_in_flight(layout: ParallelConfig, stage: int, micro_batches: int) -> int:
    """Micro-batches whose activations stage `stage` holds: 1F1B pipeline - stage, GPipe all."""
    depth = layout.pipeline - stage if layout.schedule == "1f1b" else micro_batches
    return min(depth, micro_batches) if layout.pipeline > 1 else 1


def stage_parameters(shape: Shape, layout: ParallelConfig, stage: int) -> dict[str, float]:
    """Parameters of a stage on one tensor rank: `layers`, `embedding`, `head`."""
    first, last = stage == 0, stage == layout.pipeline - 1
    layers = len(layers_of_stages(shape.layers, layout.pipeline)[stage]) * shape.layer_parameters
    # A tied head has its own copy where the embedding is on another stage. Learned positions stand
    # whole on every tensor rank.
    head = last and (not shape.tied or layout.pipeline > 1)
    return {
        "layers": (layers + shape.body_rest * last) / layout.tensor,
        "embedding": (shape.table / layout.tensor + shape.positions) * first,
        "head": shape.table * head / layout.tensor,
    }


def rank_memory(
    model: ModelConfig,
    workload: Workload,
    layout: ParallelConfig,
    software: Software,
    reserve_bytes: float,
    flash: bool = True,
) -> list[RankMemory]:
    """What a rank of each pipeline stage holds, in bytes by the names of `TERMS`."""
    shape, micro = Shape.of(model), workload.micro_batch(layout)
    kept = kept_bytes_per_token(shape, workload.sequence_tokens, layout, software, flash)
    uncheckpointed = layout.model_copy(update={"checkpointing": "none"})
    whole = kept_bytes_per_token(shape, workload.sequence_tokens, uncheckpointed, software, flash)
    ranks = []
    for stage, layers in enumerate(layers_of_stages(shape.layers, layout.pipeline)):
        owned = stage_parameters(shape, layout, stage)
        count = sum(owned.values())
        divide = [layout.shards if layout.zero >= level else 1 for level in (1, 2, 3)]
        in_flight = micro_batches_in_flight(layout, stage, workload.micro_batches(layout))
        activations = kept * micro * len(layers) * in_flight
        if layout.checkpointing == "full":
            activations += whole * micro  # the layer that is being computed again
        # What is gathered at once: a layer, or the embedding or head, which stand by themselves.
        unit = max(shape.layer_parameters / layout.tensor, owned["embedding"], owned["head"])
        copies = {2: GRADIENT, 3: 2 * WEIGHT + GRADIENT}.get(layout.zero, 0)
        terms = {
            # With zero 3 the bf16 weights are cast from the masters' shard as they are gathered.
            "weights": 0.0 if layout.zero == 3 else WEIGHT * count,
            "gradients": GRADIENT * count / divide[1],
            "optimizer": (MASTER + MOMENTS) * count / divide[0],
            "gathered": float(copies * unit),
            "activations": activations,
            "head": _head_bytes(shape, micro, layout, software, stage),
            "temporary": _temporary_bytes(shape, micro, layout),
            "reserve": reserve_bytes,
        }
        ranks.append(RankMemory(stage, in_flight, count, terms))
    return ranks


def fullest(ranks: list[RankMemory]) -> RankMemory:
    """The stage that needs most."""
    return max(ranks, key=lambda rank: rank.total_bytes)


def _head_bytes(
    shape: Shape, micro: int, layout: ParallelConfig, software: Software, stage: int
) -> float:
    """The last stage's extra: last norm's input and output, logits and what comes of them."""
    if stage < layout.pipeline - 1:
        return 0.0
    ends = 2.0 * 2 * shape.hidden * micro / layout.split_norms
    vocabulary = shape.vocabulary / layout.tensor
    if software.logits == "whole":
        return ends + LOGIT_WHOLE * micro * vocabulary
    rows = min(HEAD_CHUNK_ROWS, micro)
    # Both gradients are made in the forward pass: the weights' in fp32, from a chunk's product in
    # bf16, and at the end rounded to bf16.
    made = (GRADIENT + 2 * WEIGHT) * shape.table / layout.tensor + 2.0 * shape.hidden * micro
    return ends + made + LOGIT_CHUNKED * rows * vocabulary


def _temporary_bytes(shape: Shape, micro: int, layout: ParallelConfig) -> float:
    """Gradients of a layer's widest tensors; whole copies that sequence parallelism makes."""
    gradients = 2.0 * shape.ffn_matrices * shape.ffn * micro / layout.tensor
    gathered = 2 * 2.0 * shape.hidden * micro if layout.split_norms > 1 else 0.0
    return gradients + gathered
