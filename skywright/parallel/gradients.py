"""Tensors spread over processes: a process's part, and the norm of a gradient over all parts."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from skywright.parallel.mesh import sum_over_all


def local(tensor: Tensor) -> Tensor:
    """This process's part, in the same memory; of a plain tensor, all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(part: Tensor, whole: Tensor) -> Tensor:
    """`part`, of this process, as a tensor that is spread as `whole` is; shares memory."""
    if not isinstance(whole, DTensor):
        return part
    return DTensor.from_local(
        part, whole.device_mesh, whole.placements, shape=whole.shape, stride=whole.stride()
    )


def gradient_norm(gradients: Iterable[tuple[Tensor, Tensor]], mesh: DeviceMesh) -> float:
    """The norm of the whole model's gradient, the same number on all processes.

    `gradients`: pairs of a parameter, which says how it is spread, and this process's part of its
    gradient. Infinite or NaN if any part is, on any process. Each part's squares are summed in
    fp64 and divided by the number of processes that hold the same part, so that one sum over all
    processes, stages included, counts each element once.
    """
    stage = mesh.size() // mesh["pipeline"].size()
    squares = torch.zeros((), dtype=torch.float64, device=mesh.device_type)
    for parameter, gradient in gradients:
        norm = torch.linalg.vector_norm(gradient, dtype=torch.float64)
        squares += norm.square() * (_parts(parameter) / stage)
    return math.sqrt(sum_over_all(squares, mesh).item())


def _parts(parameter: Tensor) -> int:
    """Into how many parts a parameter is cut."""
    if not isinstance(parameter, DTensor):
        return 1
    sizes = zip(parameter.device_mesh.shape, parameter.placements, strict=True)
    return math.prod(size for size, placement in sizes if not placement.is_replicate())
