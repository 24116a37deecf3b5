"""Runs a function in several processes joined by gloo, and brings back what each returned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT_S = 600


def run(function: Callable[..., Any], processes: int, *args: Any) -> list[Any]:
    """function(*args) in each process, by rank; a failure in one is raised here."""
    with tempfile.TemporaryDirectory() as folder:
        context = mp.start_processes(
            _child, (function, processes, folder, args), processes, join=False, start_method="spawn"
        )
        try:
            waited = 0
            while not context.join(timeout=1):
                waited += 1
                if waited > TIMEOUT_S:
                    raise TimeoutError(f"{function.__name__} on {processes} processes hangs")
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.kill()
        return [
            torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(processes)
        ]


def _child(rank: int, function: Callable[..., Any], processes: int, folder: str, args: Any) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meet",
        rank=rank,
        world_size=processes,
        timeout=timedelta(seconds=60),
    )
    try:
        torch.save(function(*args), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()
