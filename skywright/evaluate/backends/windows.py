"""From hidden states to token losses, for every model that runs in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from skywright.evaluate.backends.packed import packed_product

CHUNK_ROWS = 256
"""Rows of fp32 logits at a time where a model makes its own logits."""

PRODUCT_BYTES = 64 * 2**20
"""Logits of one product: enough rows that reading the output weights costs little beside it."""
TABLE_BYTES = 4 * 2**20
"""Logits in fp32 at a time: they are read four times, so they should stay in the cache."""


def device_kind(device: torch.device) -> str:
    """What computes on a device: the GPU's name, or else the device's type, such as "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def padded_batch(windows: Sequence[np.ndarray], device: torch.device | str) -> Tensor:
    """What the model reads of the windows, int64 (windows, longest - 1), 0 on the right.

    The last token of a window is only predicted. A causal model cannot see what is to the right,
    so the padding needs no mask.
    """
    ids = torch.zeros((len(windows), max(len(w) for w in windows) - 1), dtype=torch.int64)
    for row, window in enumerate(windows):
        ids[row, : len(window) - 1] = torch.from_numpy(np.asarray(window[:-1], dtype=np.int64))
    return ids.to(device)


@torch.no_grad()  # not inference_mode: the model keeps tables that training needs too
def windows_losses(
    states_of: Callable[[Tensor], Tensor],
    losses_of: Callable[[Tensor, Tensor], Tensor],
    windows: Sequence[np.ndarray],
    first_scored: Sequence[int],
    device: torch.device | str,
) -> list[np.ndarray]:
    """Token losses of a batch of windows; see `Backend.token_nll`.

    states_of: ids (windows, tokens) -> states (windows, tokens, width); losses_of: states
    (rows, width), labels (rows) -> fp32 losses (rows), called once, only for what is scored.
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
    losses = losses_of(rows, labels)
    bounds = np.cumsum([len(target) for target in targets])[:-1]
    return np.split(losses.cpu().numpy(), bounds)


def windows_nll(
    states_of: Callable[[Tensor], Tensor],
    logits_of: Callable[[Tensor], Tensor],
    windows: Sequence[np.ndarray],
    first_scored: Sequence[int],
    device: torch.device | str,
) -> list[np.ndarray]:
    """`windows_losses` from logits_of: states (rows, width) -> fp32 logits (rows, vocabulary)."""

    def losses_of(rows: Tensor, labels: Tensor) -> Tensor:
        losses = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = slice(start, start + CHUNK_ROWS)
            logits = logits_of(rows[chunk])
            picked = logits.gather(-1, labels[chunk, None]).squeeze(-1)
            losses[chunk] = logits.logsumexp(-1) - picked
        return losses

    return windows_losses(states_of, losses_of, windows, first_scored, device)


def linear_losses(rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """-ln p(label) in fp32, (rows,), where logits are rows @ weight.T + bias.

    rows (rows, width) and weight (vocabulary, width; it may be a `packed.packed_weight`) of one
    dtype, which is that of the product, made for PRODUCT_BYTES of logits at a time; the log-sum-exp
    over the vocabulary is fp32, on a processor for TABLE_BYTES at a time.
    """
    losses = torch.empty(len(rows), dtype=torch.float32, device=rows.device)
    many = max(1, min(len(rows), PRODUCT_BYTES // (len(weight) * rows.element_size())))
    few = max(1, min(many, TABLE_BYTES // (len(weight) * 4))) if rows.device.type == "cpu" else many
    # Fresh memory for each product would cost a fifth of it; a packed one makes its own.
    products = None if weight.is_mkldnn else rows.new_empty(many, len(weight))
    table = rows.new_empty(few, len(weight), dtype=torch.float32)
    for start in range(0, len(rows), many):
        chunk = rows[start : start + many]
        if products is None:
            logits = packed_product(chunk, weight, None, "none")
        else:
            logits = torch.mm(chunk, weight.T, out=products[: len(chunk)])
        for place in range(0, len(chunk), few):
            part = logits[place : place + few]
            here = slice(start + place, start + place + len(part))
            losses[here] = _losses(table[: len(part)].copy_(part), bias, labels[here])
    return losses


def _losses(logits: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
    """-ln p(label) from fp32 logits (rows, vocabulary), which are overwritten."""
    if bias is not None:
        logits += bias
    picked = logits.gather(-1, labels[:, None])
    largest = logits.amax(-1, keepdim=True)
    sums = logits.sub_(largest).exp_().sum(-1, keepdim=True)
    return (sums.log_() + largest - picked).squeeze(-1)
