"""Tensors spread over processes: a process's part, the whole, a gradient's norm over all parts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from skywright.parallel.mesh import sum_over_all
from skywright.parallel.world import World


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


def collected(tensors: Mapping[str, Tensor], world: World) -> Iterator[tuple[str, Tensor | None]]:
    """Every process's tensors whole, one after another by name; on others than the first None.

    All processes must go through all of it. A name that several have is one tensor, spread over
    them; stages of a pipeline have different ones. Whole tensors are on the processor.
    """
    owners: dict[str, tuple[int, torch.Size, torch.dtype]] = {}
    own = {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    for rank, named in reversed([*enumerate(world.gathered(own))]):
        owners.update({name: (rank, *facts) for name, facts in named.items()})
    for name in sorted(owners):
        owner, shape, dtype = owners[name]
        whole: Tensor | None = None
        if name in tensors:
            mine = tensors[name].detach()
            whole = (mine.full_tensor() if isinstance(mine, DTensor) else mine).cpu()
        if world.is_first and whole is None:
            whole = torch.empty(shape, dtype=dtype)
            dist.recv(whole, owner, group=world.control)
        elif world.rank == owner and not world.is_first:
            assert whole is not None
            dist.send(whole.contiguous(), 0, group=world.control)
        yield name, whole if world.is_first else None


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
