"""The processes that one command was started in, and the little that they must agree on.

`torchrun` starts the same command in many processes. `joined` makes of them a `World`; a command
started by itself is `ALONE`, for which nothing here sends anything and no process group exists.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

from skywright.errors import UserError

_PROCESSOR = torch.device("cpu")

Value = TypeVar("Value")
DeviceName = Literal["auto", "cpu", "cuda"]

PATIENCE = timedelta(days=30)
"""How long processes wait for one that is still at work alone (the first one builds a corpus). One
that dies is noticed at once: its connections close, and torchrun ends the others."""


@dataclass(frozen=True)
class World:
    """This process among those of the command.

    rank, size: of all processes; local_size: of those on this machine; device: this process's.
    `control` carries small Python values between the processes, `saving` those of a checkpoint
    that is written beside the training (two threads must not share a group).
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1
    device: torch.device = _PROCESSOR
    control: dist.ProcessGroup | None = None
    saving: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process does what only one must do, such as writing a journal."""
        return self.rank == 0

    def on_first(self, work: Callable[[], Value], group: dist.ProcessGroup | None = None) -> Value:
        """What `work` gives on the first process, on all; if it raises there, it raises on all.

        The value must be picklable, and is trusted: it comes from this command's own process.
        """
        if self.size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.is_first:
            try:
                told[0] = work()
            except Exception as error:
                told[1] = error
        dist.broadcast_object_list(told, src=0, group=group or self.control)
        if told[1] is not None:
            raise told[1]
        value: Value = told[0]
        return value

    def gathered(self, value: Value, group: dist.ProcessGroup | None = None) -> list[Value]:
        """Every process's value, by rank, on all."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=group or self.control)
        return values

    def largest(self, *numbers: int) -> list[int]:
        """Place by place, the largest of the processes' numbers, on all."""
        if self.size == 1:
            return list(numbers)
        table = torch.tensor(numbers)
        dist.all_reduce(table, dist.ReduceOp.MAX, group=self.control)
        return [int(number) for number in table]


ALONE = World()


def started() -> bool:
    """Whether torchrun, or something that sets its variables, started this command many times."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: DeviceName = "auto") -> Iterator[World]:
    """The world that this process belongs to, for the length of the block.

    Raises UserError if the device asked for is not there.
    """
    if not started():
        yield World(device=_device(device, 0))
        return
    own = _device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("cpu:gloo,cuda:nccl" if own.type == "cuda" else "gloo")
    try:
        yield of_group(own, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    finally:
        dist.destroy_process_group()


def of_group(device: torch.device = _PROCESSOR, local_size: int = 1) -> World:
    """The world of the default process group, which must have been initialised."""
    control, saving = (dist.new_group(backend="gloo", timeout=PATIENCE) for _ in range(2))
    return World(dist.get_rank(), dist.get_world_size(), local_size, device, control, saving)


def _device(name: DeviceName, local_rank: int) -> torch.device:
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"device {name}: process {local_rank} of this machine has no GPU of its own; there are "
            f"{torch.cuda.device_count()}: start as many processes, or set train.device to cpu"
        )
    return torch.device("cuda", local_rank)
