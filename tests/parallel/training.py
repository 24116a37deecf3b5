"""The same short training on one process and on a layout of several."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.head import IGNORE
from skywright.parallel.config import ParallelConfig
from skywright.parallel.mesh import make_mesh, rows_of
from skywright.parallel.step import ParallelModel
from skywright.train.optimizer import MasterOptimizer, OptimizerConfig

MODEL = ModelConfig(
    vocab_size=96, hidden=32, layers=4, heads=4, kv_heads=2, ffn_hidden=48, context_tokens=32
)
STEPS, ROWS, TOKENS, MICRO_BATCH_ROWS = 20, 8, 16, 2
OPTIMIZER = OptimizerConfig(clip=1.0)
LR = 3e-3


def decoder(config: ModelConfig) -> Decoder:
    model = Decoder(config)
    model.initialise(5)
    return model


def batch(step: int, config: ModelConfig, emptied: slice | None = None) -> tuple[torch.Tensor, ...]:
    """Inputs, labels and positions (ROWS, TOKENS) of a step.

    Rows differ in how many labels they have, from all to none; two documents share some rows.
    """
    generator = torch.Generator().manual_seed(step)
    # Ids from a part of the vocabulary that shifts, so that there is something to learn.
    ids = torch.randint(0, config.vocab_size // 3, (ROWS, TOKENS + 1), generator=generator)
    inputs, labels = ids[:, :-1].contiguous(), ids[:, 1:].clone()
    kept = torch.randint(1, TOKENS + 1, (ROWS,), generator=generator)
    labels[torch.arange(TOKENS) >= kept[:, None]] = IGNORE
    labels[step % ROWS] = IGNORE
    if emptied is not None:
        labels[emptied] = IGNORE
    starts = torch.randint(1, TOKENS, (ROWS, 1), generator=generator)
    places = torch.arange(TOKENS).expand(ROWS, -1)
    positions = torch.where(places < starts, places, places - starts)
    return inputs, labels, positions


def alone(
    config: ModelConfig, dtype: torch.dtype, steps: int, emptied: slice | None = None
) -> dict[str, Any]:
    """As the trainer does it on one process."""
    model = decoder(config)
    optimizer = MasterOptimizer(model, OPTIMIZER)
    model.to(dtype)
    optimizer.publish()
    out: dict[str, Any] = {"losses": [], "norms": [], "gradients": {}}
    for step in range(steps):
        inputs, labels, positions = batch(step, config, emptied)
        counted, nats = int((labels != IGNORE).sum()), 0.0
        for first in range(0, ROWS, MICRO_BATCH_ROWS):
            part = slice(first, first + MICRO_BATCH_ROWS)
            loss = model.head(model(inputs[part], positions[part]), labels[part])
            (loss.total / counted).backward()
            optimizer.accumulate()
            nats += loss.nats.item()
        if step == 0:
            out["gradients"] = {
                n: m.grad.clone() for n, m in optimizer._masters.items() if m.grad is not None
            }
        norm = optimizer.gradient_norm()
        optimizer.update(LR, norm)
        out["losses"].append(nats / counted)
        out["norms"].append(norm)
    out["weights"] = {name: weight.clone() for name, weight in optimizer.weights.items()}
    return out


def spread(
    layout: dict[str, Any],
    config: ModelConfig,
    dtype: torch.dtype,
    steps: int,
    emptied: slice | None = None,
) -> dict[str, Any]:
    """The same on this process's part of a layout; gradients and weights come back whole."""
    parallel_config = ParallelConfig.model_validate(layout)
    mesh = make_mesh(parallel_config, config)
    parallel = ParallelModel(decoder(config), mesh, parallel_config, dtype)
    optimizer = MasterOptimizer(parallel.model, OPTIMIZER, mesh)
    rows = rows_of(mesh)
    out: dict[str, Any] = {"losses": [], "norms": [], "gradients": {}}
    at_once = max(1, MICRO_BATCH_ROWS // parallel_config.data)
    for step in range(steps):
        parts = (tensor[rows].contiguous() for tensor in batch(step, config, emptied))
        loss = parallel.forward_backward(*parts, micro_batch_rows=at_once)
        if step == 0:
            out["gradients"] = {
                name: whole(parameter.grad)
                for name, parameter in parallel.model.named_parameters()
                if parameter.grad is not None
            }
        optimizer.accumulate()
        norm = optimizer.gradient_norm()
        optimizer.update(LR, norm)
        out["losses"].append(loss.mean_nats)
        out["norms"].append(norm)
    tensors = optimizer.tensors()["weights"]
    out["weights"] = {name: whole(weight) for name, weight in tensors.items()}
    out["rank"] = dist.get_rank()
    return out


def whole(tensor: torch.Tensor) -> torch.Tensor:
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().clone()
