"""What this machine's processor reaches: matrix products and copies, timed for about a second."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

from skywright.planner.hardware.config import HardwareConfig

SIZE = 2048
"""Side of the matrices: large enough that the processor is busy multiplying, small enough for a
tenth of a second on two cores."""
COPY_VALUES = 32 * 2**20
"""fp32 values of a copy, 128 MiB: several times any processor's cache."""
TRIES = 5


def measure_machine(threads: int | None = None) -> HardwareConfig:
    """The fastest of a few tries at bf16 and fp32 products of 2,048 cubed and at copying 128 MiB.

    `threads` defaults to the physical cores, as training does. Other programs on the machine make
    the figures worse, as they do training; torch's number of threads is put back.
    """
    import psutil
    import torch

    threads = threads or psutil.cpu_count(logical=False) or 1
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        bf16_flops, fp32_flops = _product_flops("bfloat16"), _product_flops("float32")
        source, target = torch.zeros(COPY_VALUES), torch.empty(COPY_VALUES)
        bandwidth = 2 * 4 * COPY_VALUES / _fastest_s(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(before)
    how = f"measured here: best of {TRIES}, {threads} threads, torch {torch.__version__}"
    return HardwareConfig(
        name=f"this machine ({platform.processor() or platform.machine()}, {threads} threads)",
        kind="cpu",
        memory_bytes=psutil.virtual_memory().total,
        bf16_flops=bf16_flops,
        fp32_flops=fp32_flops,
        memory_bytes_per_s=bandwidth,
        threads=threads,
        sources={
            "memory_bytes": "the system's total",
            "bf16_flops": f"{how}, product of {SIZE} cubed",
            "fp32_flops": f"{how}, product of {SIZE} cubed",
            "memory_bytes_per_s": f"{how}, copy of {4 * COPY_VALUES // 2**20} MiB, read and write",
        },
    )


def _product_flops(dtype: str) -> float:
    import torch

    left, right = (torch.randn(SIZE, SIZE).to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * SIZE**3 / _fastest_s(lambda: torch.mm(left, right, out=out))


def _fastest_s(function: Callable[[], object]) -> float:
    function()  # the first call builds kernels and touches pages
    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return min(times)
