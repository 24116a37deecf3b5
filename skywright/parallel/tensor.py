"""Tensor parallelism (Shoeybi et al. 2019), with the sequence split too (Korthikanti et al. 2022).

Each tensor rank has some of the heads, of the feed-forward block's inner width, and of the rows of
the embeddings and the head; what a rank computes of a hidden state is summed over the ranks after
each block. With the sequence split, norms and residuals are done by each rank for its part of the
positions, and that sum is a reduce-scatter, undone by an all-gather at the next block's entry.

Linear layers and norms take torch's own plans. The embeddings and the head are modules of ours
whose work on the vocabulary no plan knows; here they get forms that hold a run of its rows.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import (
    DTensor,
    Partial,
    Placement,
    Replicate,
    Shard,
    distribute_tensor,
)
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from skywright.model.decoder import Decoder
from skywright.model.head import Head, Loss, chunked_loss, token_losses
from skywright.model.parts import Embedding, lookup
from skywright.parallel.config import ParallelConfig


def apply_tensor(model: Decoder, mesh: DeviceMesh, config: ParallelConfig) -> None:
    """Cut `model` in place over the tensor ranks; nothing is done where there is but one.

    Every process must come with the same weights: each keeps its part, and nothing is sent. With
    the sequence split, hidden states between modules are (batch, tokens / tensor, hidden).
    """
    if config.tensor == 1:
        return
    ranks, split = mesh["tensor"], config.splits_sequence
    for layer in model.layers.children():
        _apply(layer, ranks, _layer_plan(layer, split))
    # A stage of a pipeline has some of these only.
    parts: dict[str, nn.Module] = dict(model.named_children())
    tables: dict[nn.Parameter, nn.Parameter] = {}
    for name, part in parts.items():
        if isinstance(part, Embedding):
            setattr(model, name, ShardedEmbedding(_cut(part.weight, ranks, tables), ranks, split))
        elif isinstance(part, Head):
            cut = _cut(part.weight, ranks, tables)
            setattr(model, name, ShardedHead(cut, part.z_loss, ranks, split))
    if split and "norm" in parts:
        _apply(model, ranks, {"norm": _sequence_norm()})


def _apply(module: nn.Module, ranks: DeviceMesh, plan: dict[str, ParallelStyle]) -> None:
    parallelize_module(module, ranks, plan, src_data_rank=None)


def _sequence_norm() -> SequenceParallel:
    return SequenceParallel(sequence_dim=1, use_local_output=True)


def _layer_plan(layer: nn.Module, split: bool) -> dict[str, ParallelStyle]:
    """How each module of a layer is cut, by name."""
    outside: Placement = Shard(1) if split else Replicate()

    def gathered(others: int) -> PrepareModuleInput:
        # Left as a DTensor, so that the gradients of the block's first products are summed once.
        return PrepareModuleInput(
            input_layouts=(outside, *[None] * others),
            desired_input_layouts=(Replicate(), *[None] * others),
        )

    plan: dict[str, ParallelStyle] = {"self_attn": gathered(2), "mlp": gathered(0)}
    for name, part in layer.named_modules():
        if name.endswith(("o_proj", "down_proj")):
            plan[name] = RowwiseParallel(output_layouts=outside)
        elif isinstance(part, nn.Linear):
            plan[name] = ColwiseParallel()
        elif name.endswith("layernorm") and split:
            plan[name] = _sequence_norm()
        elif name.endswith(("q_norm", "k_norm")):
            # One weight for all heads, which stand in dimension 1: its gradient is summed over
            # the ranks, as over parts of a sequence.
            plan[name] = _sequence_norm()
    return plan


def _cut(
    weight: nn.Parameter, ranks: DeviceMesh, done: dict[nn.Parameter, nn.Parameter]
) -> nn.Parameter:
    """This rank's run of rows; a table that two modules share is cut once, and stays shared."""
    if weight not in done:
        done[weight] = nn.Parameter(
            distribute_tensor(weight.detach(), ranks, [Shard(0)], src_data_rank=None)
        )
    return done[weight]


def _part(weight: Tensor) -> Tensor:
    assert isinstance(weight, DTensor)
    return weight.to_local()


class ShardedEmbedding(Embedding):
    """An Embedding of which each tensor rank holds a run of rows."""

    def __init__(self, weight: nn.Parameter, ranks: DeviceMesh, split: bool) -> None:
        """`split`: whether what comes out is split along the sequence, else each rank has all."""
        nn.Module.__init__(self)
        self.weight, self._ranks, self._split = weight, ranks, split

    def forward(self, ids: Tensor) -> Tensor:
        """ids (..., tokens), the same on all ranks -> (..., tokens or its part, hidden)."""
        table = _part(self.weight)
        row = ids - self._ranks.get_local_rank() * len(table)
        own = (row >= 0) & (row < len(table))
        found = lookup(row.where(own, 0), table) * own[..., None]
        out: Placement = Shard(ids.ndim - 1) if self._split else Replicate()
        summed = DTensor.from_local(found, self._ranks, [Partial()], run_check=False)
        return summed.redistribute(placements=[out]).to_local()


class _OverRanks:
    """The reductions of `skywright.model.head.Spread` over a mesh of one dimension."""

    def __init__(self, ranks: DeviceMesh, first: int) -> None:
        self._group, self.first = ranks.get_group(), first

    def largest(self, table: Tensor) -> Tensor:
        dist.all_reduce(table, dist.ReduceOp.MAX, self._group)
        return table

    def total(self, table: Tensor) -> Tensor:
        dist.all_reduce(table, dist.ReduceOp.SUM, self._group)
        return table


class ShardedHead(Head):
    """A Head of which each tensor rank holds a run of rows, and never another's logits."""

    def __init__(self, weight: nn.Parameter, z_loss: float, ranks: DeviceMesh, split: bool) -> None:
        """`split`: whether hidden states come in split along the sequence."""
        nn.Module.__init__(self)
        self.weight, self.z_loss = weight, z_loss
        self._ranks, self._split = ranks, split

    def _whole(self, hidden: Tensor) -> Tensor:
        """All positions' hidden states; gradients, of which each rank has a part, are summed."""
        outside: Placement = Shard(hidden.ndim - 2) if self._split else Replicate()
        spread = DTensor.from_local(hidden, self._ranks, [outside], run_check=False)
        gathered = spread.redistribute(placements=[Replicate()])
        return gathered.to_local(grad_placements=[Partial()])

    def forward(self, hidden: Tensor, labels: Tensor) -> Loss:
        """As Head's: hidden (..., tokens or this rank's part, hidden), labels (..., tokens)."""
        table = _part(self.weight)
        spread = _OverRanks(self._ranks, self._ranks.get_local_rank() * len(table))
        return chunked_loss(self._whole(hidden), table, labels, self.z_loss, spread)

    def token_losses(self, hidden: Tensor, labels: Tensor) -> Tensor:
        """As Head's, the same on each rank."""
        table = _part(self.weight)
        spread = _OverRanks(self._ranks, self._ranks.get_local_rank() * len(table))
        return token_losses(self._whole(hidden), table, labels, spread)

    def logits(self, hidden: Tensor) -> Tensor:
        """As Head's, whole on each rank."""
        mine = F.linear(self._whole(hidden), _part(self.weight))
        spread = DTensor.from_local(mine, self._ranks, [Shard(mine.ndim - 1)], run_check=False)
        whole: torch.Tensor = spread.full_tensor()
        return whole
