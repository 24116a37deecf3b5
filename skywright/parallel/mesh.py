"""The mesh of processes: who sits where."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from skywright.model.config import ModelConfig
from skywright.parallel.config import ParallelConfig, check

DIMENSIONS = ("pipeline", "replicate", "shard", "tensor")
"""Outermost first, as Megatron numbers ranks (Narayanan et al. 2021, section 3): what talks most
sits closest. The data ranks are replicate x shard."""


def make_mesh(config: ParallelConfig, model: ModelConfig, device_type: str = "cpu") -> DeviceMesh:
    """The mesh of all processes of the default group, which must have been initialised.

    All four dimensions are there, of size 1 where they are not used. The device type is the
    caller's word: torch's own guess takes a GPU that is merely visible. Raises UserError as
    `check` does.
    """
    check(config, model, dist.get_world_size())
    sizes = (config.pipeline, config.data // config.shards, config.shards, config.tensor)
    return init_device_mesh(device_type, sizes, mesh_dim_names=DIMENSIONS)


def data_mesh(mesh: DeviceMesh) -> DeviceMesh:
    """What FSDP takes: the shard dimension, with the replicate one before it where it is used."""
    return mesh["shard"] if mesh["replicate"].size() == 1 else mesh["replicate", "shard"]


def data_rank(mesh: DeviceMesh) -> int:
    """This process's number among the data ranks."""
    return mesh.get_local_rank("replicate") * mesh["shard"].size() + mesh.get_local_rank("shard")


def rows_of(mesh: DeviceMesh) -> slice:
    """Which samples of a step this process takes: each data rank every data-th, from its number.

    So the samples of a step do not depend on how many processes share it.
    """
    return slice(data_rank(mesh), None, mesh["replicate"].size() * mesh["shard"].size())


def sum_over_all(values: torch.Tensor, mesh: DeviceMesh) -> torch.Tensor:
    """Element by element, the sum over every process of the mesh, equal on all of them."""
    summed = values.detach().to(mesh.device_type, copy=True)
    dist.all_reduce(summed)
    return summed
