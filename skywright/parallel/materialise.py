"""Weights for a model that was made on the meta device: a unit at a time, and only its own part."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

Weights = Callable[[str, torch.Size], Tensor]
"""The whole fp32 tensor of a parameter's name and shape."""


class Materialiser:
    """Gives real memory to parameters on the meta device, those of one module after another's.

    So that a process never holds more than one unit whole of a model that is larger than its
    memory. Each process asks for whole tensors and keeps its part: nothing is sent.
    """

    def __init__(self, model: nn.Module, device: torch.device, weights: Weights | None) -> None:
        """Without `weights` what comes out is not filled: a checkpoint is about to be read."""
        self._device, self._weights = device, weights
        self._names: dict[int, str] = {}
        for name, parameter in model.named_parameters():
            self._names[id(parameter)] = name
        self._made: dict[int, nn.Parameter] = {}

    def __call__(self, unit: nn.Module) -> None:
        """Make what is still on the meta device in `unit`; what two modules share stays shared."""
        for module in unit.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                if parameter.is_meta:
                    setattr(module, name, self._made_of(parameter))

    def _made_of(self, parameter: nn.Parameter) -> nn.Parameter:
        key = id(parameter)
        if key not in self._made:
            self._made[key] = nn.Parameter(self._tensor(parameter, self._names[key]))
        return self._made[key]

    @torch.no_grad()
    def _tensor(self, parameter: nn.Parameter, name: str) -> Tensor:
        if self._weights is None:
            return torch.empty_like(parameter, device=self._device)
        whole = self._weights(name, parameter.shape).to(self._device)
        if not isinstance(parameter, DTensor):
            return whole
        return distribute_tensor(
            whole, parameter.device_mesh, parameter.placements, src_data_rank=None
        )
