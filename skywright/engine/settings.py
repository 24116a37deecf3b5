"""Where stages run, and how long the engine waits: what of a run changes no byte of its output."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from skywright.config import Config
from skywright.errors import UserError

ExecutorName = Literal["inline", "processes", "ray"]


class Slice(Config):
    """Worker `number` (from 1) of `count` that share a folder and know nothing else of each other.

    A worker says every fifth of `lease_s` that it lives. One that has not said so for `lease_s` is
    taken for dead, and the others do its tasks.
    """

    number: int = Field(ge=1)
    count: int = Field(ge=1)
    lease_s: float = Field(default=120.0, gt=0)

    @classmethod
    def parse(cls, text: str, lease_s: float = 120.0) -> Slice:
        """A slice from "2/3"; raises UserError for anything else."""
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--slice {text}: write it as i/n with 1 <= i <= n, such as 2/3")
        return cls(number=int(found[1]), count=int(found[2]), lease_s=lease_s)


class EngineConfig(Config):
    """Where tasks run. `workers` defaults to the number of cores (and to all of Ray's CPUs).

    `hang_s` is how long a worker may say nothing inside a rowwise task. `stages` is a folder or an
    fsspec address for the stages' outputs, where they are not to stand in the run's own folder.
    `force` starts a build for which the disk looks too small.
    """

    executor: ExecutorName = "processes"
    workers: int | None = Field(default=None, ge=1)
    hang_s: float = Field(default=120.0, gt=0)
    ray_address: str | None = None
    slice: Slice | None = None
    stages: str | None = None
    force: bool = False


def engine_of(
    executor: ExecutorName | EngineConfig, workers: int | None = None, hang_s: float = 120.0
) -> EngineConfig:
    """The settings that a name stands for."""
    if isinstance(executor, EngineConfig):
        return executor
    return EngineConfig(executor=executor, workers=workers, hang_s=hang_s)
