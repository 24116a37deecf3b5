"""Data parallelism: FSDP2, with gradients, weights or nothing kept whole between micro-batches.

One set of torch's switches makes all of them (`zero` of ParallelConfig):

    zero 3   weights and gradients are split all the time (FSDP; on a 2-D mesh HSDP)
    zero 2   weights are gathered once a step; gradients are split after each micro-batch
    zero 1   weights are gathered once a step; gradients are summed whole, in fp32, and reduced
             after the last micro-batch: one all-gather and one reduce-scatter a unit and step
    zero 0   as 1, over shards of one process: one all-reduce a unit and step

What is split are the fp32 masters, and they are the model's parameters. In bf16 each unit's
weights are rounded as they are gathered, its gradients are made in bf16 and summed in fp32, over
micro-batches and over processes. That is the arithmetic of `skywright.train.optimizer` with a bf16
model on one process, so a layout changes no rounding but the order of sums.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)

from skywright.model.decoder import Decoder
from skywright.parallel.config import ParallelConfig
from skywright.parallel.materialise import Materialiser, Weights
from skywright.parallel.mesh import data_mesh


def apply_fsdp(
    model: Decoder,
    mesh: DeviceMesh,
    config: ParallelConfig,
    dtype: torch.dtype = torch.float32,
    weights: Weights | None = None,
) -> None:
    """Shard `model` in place over the data ranks; it then multiplies in `dtype`.

    Units: each layer, the head, and the rest (embeddings and last norm). A tied head is one with
    the embeddings, so they are one unit. It is applied whatever the layout, on one data rank too,
    so that precision works by one mechanism. Units on the meta device are made out of `weights`,
    each just before it is cut.
    """
    policy = MixedPrecisionPolicy()
    if dtype != torch.float32:
        policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    data = data_mesh(mesh)

    materialise = Materialiser(model, torch.device(mesh.device_type), weights)

    def shard(module: nn.Module, reshard_after_forward: bool) -> None:
        materialise(module)
        fully_shard(
            module, mesh=data, mp_policy=policy, reshard_after_forward=reshard_after_forward
        )

    for layer in model.layers.children():
        shard(layer, config.zero == 3)
    head = getattr(model, "head", None)
    if head is not None and not model.config.tie_embeddings:
        # Its gradients are made in its forward pass, and its backward pass follows at once.
        shard(head, False)
    shard(model, False)
    if head is not None and not model.config.tie_embeddings:
        for name in ("logits", "token_losses"):
            register_fsdp_forward_method(head, name)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # Losses are divided by the labels of the whole step, so gradients are summed.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def set_last_micro_batch(model: nn.Module, config: ParallelConfig, last: bool) -> None:
    """Before each micro-batch: whether it is the step's last, after which all is split again."""
    fsdp = cast(FSDPModule, model)
    fsdp.set_requires_gradient_sync(last or config.zero >= 2)
    fsdp.set_reshard_after_backward(last or config.zero == 3)
    # torch's set_is_last_backward stays as it is, true: else FSDP keeps the order of modules of
    # the micro-batch before, and gathers the head once more for nothing.


def split_again(model: nn.Module) -> None:
    """Split weights that a forward pass without a backward pass left whole.

    After scoring: else the next forward pass would take what was gathered before an update.
    """
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
