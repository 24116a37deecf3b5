"""How much of the machine a training step uses: floating-point operations against a named peak."""

from __future__ import annotations

import time

import psutil
import torch

FORMULA = "(6 (body + head) + 6 layers width T) tokens/s / peak"
"""Model FLOPs utilisation: matrix products alone, attention counted as a causal kernel must do it
(the convention "causal" of `skywright.model.flops`). T is the length of a sample."""


def measured_peak(dtype: torch.dtype, tries: int = 5) -> float:
    """FLOP/s of the best of `tries` square matrix products in `dtype`, with the threads set.

    2,048 rows on a processor, 8,192 on an accelerator: large enough that the product alone counts.
    """
    on_accelerator = torch.accelerator.is_available()
    device = torch.accelerator.current_accelerator() if on_accelerator else torch.device("cpu")
    rows = 8192 if on_accelerator else 2048
    matrix = torch.full((rows, rows), 0.5, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(tries + 1):  # the first one warms up
        began = time.perf_counter()
        matrix @ matrix
        if on_accelerator:
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * rows**3 / best


def memory_bytes() -> int:
    """What the process holds now: on an accelerator its tensors, else its resident memory."""
    if torch.accelerator.is_available():
        return torch.accelerator.memory_allocated()
    resident: int = psutil.Process().memory_info().rss
    return resident
