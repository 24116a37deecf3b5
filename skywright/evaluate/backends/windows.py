"""From hidden states to token losses, for every model that runs in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

CHUNK_ROWS = 256
"""Rows of fp32 logits at a time: 256 x 8,192 is 8 MiB, which stays near the cache (the same figure
was measured as the fastest for the training loss)."""


def padded_batch(windows: Sequence[np.ndarray], device: torch.device | str) -> Tensor:
    """Windows as one int64 tensor (windows, longest), padded with 0 on the right.

    A causal model cannot see what is to the right, so the padding needs no mask.
    """
    ids = torch.zeros((len(windows), max(len(w) for w in windows)), dtype=torch.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(np.asarray(window, dtype=np.int64))
    return ids.to(device)


@torch.no_grad()  # not inference_mode: the model keeps tables that training needs too
def windows_nll(
    states_of: Callable[[Tensor], Tensor],
    logits_of: Callable[[Tensor], Tensor],
    windows: Sequence[np.ndarray],
    first_scored: Sequence[int],
    device: torch.device | str,
) -> list[np.ndarray]:
    """Token losses of a batch of windows; see `Backend.token_nll`.

    states_of: ids (windows, tokens) -> states (windows, tokens, width); logits_of: states
    (rows, width) -> fp32 logits (rows, vocabulary), called only for positions that are scored,
    CHUNK_ROWS at a time.
    """
    for window, first in zip(windows, first_scored, strict=True):
        if not 1 <= first < len(window):
            raise ValueError(f"first_scored {first} must be in 1..{len(window) - 1}")
    states = states_of(padded_batch(windows, device))
    rows = torch.cat(
        [states[w, first - 1 : len(windows[w]) - 1] for w, first in enumerate(first_scored)]
    )
    targets = [np.asarray(w[first:]) for w, first in zip(windows, first_scored, strict=True)]
    labels = torch.from_numpy(np.concatenate(targets).astype(np.int64)).to(device)
    losses = torch.empty(len(rows), dtype=torch.float32, device=device)
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = slice(start, start + CHUNK_ROWS)
        logits = logits_of(rows[chunk])
        picked = logits.gather(-1, labels[chunk, None]).squeeze(-1)
        losses[chunk] = logits.logsumexp(-1) - picked
    bounds = np.cumsum([len(target) for target in targets])[:-1]
    return np.split(losses.cpu().numpy(), bounds)
