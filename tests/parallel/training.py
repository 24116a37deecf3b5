"""The same short training on one process and on a layout of several."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
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
GPT = ModelConfig(
    architecture="gpt", vocab_size=96, hidden=32, layers=4, heads=4, ffn_hidden=64,
    context_tokens=32,
)  # fmt: skip
TIED = MODEL.model_copy(update={"tie_embeddings": True})
QK_NORM = MODEL.model_copy(update={"qk_norm": True, "z_loss": 1e-3})

STEPS, ROWS, TOKENS = 20, 8, 16
OPTIMIZER = OptimizerConfig(clip=3.4)
LR = 3e-3
WARM_UP = 10
"""Steps over which a training's rate rises. Without it AdamW's first steps are nearly LR times the
sign of a gradient, so that where it is all but 0 rounding alone decides what is learnt."""


@dataclass(frozen=True)
class Case:
    """A training; without a layout on one process, as the trainer does it."""

    layout: dict[str, Any] = field(default_factory=dict, hash=False)
    model: ModelConfig = MODEL
    dtype: torch.dtype = torch.float32
    emptied: int | None = None  # of two data ranks, the one that is left without labels
    micro_batches: int = 2
    steps: int = STEPS
    documents: bool = True  # two in each row, else one

    @property
    def processes(self) -> int:
        return ParallelConfig.model_validate(self.layout).processes


def decoder(config: ModelConfig) -> Decoder:
    model = Decoder(config)
    model.initialise(5)
    return model


def batch(step: int, case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Inputs, labels and positions (ROWS, TOKENS) of a step.

    Rows differ in how many labels they have, from all to none.
    """
    generator = torch.Generator().manual_seed(step)
    # From a part of the vocabulary only, so that there is something to learn.
    ids = torch.randint(0, case.model.vocab_size // 3, (ROWS, TOKENS + 1), generator=generator)
    inputs, labels = ids[:, :-1].contiguous(), ids[:, 1:].clone()
    kept = torch.randint(1, TOKENS + 1, (ROWS,), generator=generator)
    labels[torch.arange(TOKENS) >= kept[:, None]] = IGNORE
    labels[step % ROWS] = IGNORE
    if case.emptied is not None:
        labels[case.emptied :: 2] = IGNORE
    if not case.documents:
        return inputs, labels, None
    starts = torch.randint(1, TOKENS, (ROWS, 1), generator=generator)
    places = torch.arange(TOKENS).expand(ROWS, -1)
    return inputs, labels, torch.where(places < starts, places, places - starts)


@lru_cache
def alone(
    model_config: ModelConfig, dtype: torch.dtype, emptied: int | None, documents: bool = True
) -> dict[str, Any]:
    """The training of a case as the trainer does it on one process."""
    case = Case({}, model_config, dtype, emptied, documents=documents)
    model = decoder(case.model)
    optimizer = MasterOptimizer(model, OPTIMIZER)
    model.to(dtype)
    optimizer.publish()
    out: dict[str, Any] = {"losses": [], "norms": []}
    for step in range(STEPS):
        inputs, labels, positions = batch(step, case)
        counted, nats = int((labels != IGNORE).sum()), 0.0
        for first in range(0, ROWS, ROWS // case.micro_batches):
            part = slice(first, first + ROWS // case.micro_batches)
            hidden = model(inputs[part], None if positions is None else positions[part])
            loss = model.head(hidden, labels[part])
            (loss.total / counted).backward()
            optimizer.accumulate()
            nats += loss.nats.item()
        if step == 0:
            out["gradients"] = {n: m.grad.clone() for n, m in optimizer._masters.items()}
        norm = optimizer.gradient_norm()
        optimizer.update(LR * min(1, (step + 1) / WARM_UP), norm)
        out["losses"].append(nats / counted)
        out["norms"].append(norm)
    out["weights"] = {name: weight.clone() for name, weight in optimizer.weights.items()}
    return out


def spread(cases: list[Case]) -> list[dict[str, Any]]:
    """The same on this process's part of each layout; gradients and weights come back whole."""
    return [_spread(case) for case in cases]


def _spread(case: Case) -> dict[str, Any]:
    config = ParallelConfig.model_validate(case.layout)
    mesh = make_mesh(config, case.model)
    parallel = ParallelModel(decoder(case.model), mesh, config, case.dtype)
    optimizer = MasterOptimizer(parallel.model, OPTIMIZER, mesh)
    rows, at_once = rows_of(mesh), ROWS // config.data // case.micro_batches
    out: dict[str, Any] = {"losses": [], "norms": []}
    for step in range(case.steps):
        inputs, labels, positions = (
            None if tensor is None else tensor[rows].contiguous() for tensor in batch(step, case)
        )
        loss = parallel.forward_backward(inputs, labels, positions, at_once)
        if step == 0:
            named = parallel.model.named_parameters()
            out["gradients"] = {name: whole(p.grad) for name, p in named if p.grad is not None}
        optimizer.accumulate()
        norm = optimizer.gradient_norm()
        optimizer.update(LR * min(1, (step + 1) / WARM_UP), norm)
        out["losses"].append(loss.mean_nats)
        out["norms"].append(norm)
    out["weights"] = {n: whole(w) for n, w in optimizer.tensors()["weights"].items()}
    return out


def whole(tensor: torch.Tensor) -> torch.Tensor:
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().clone()
