"""From hidden states to token losses, for every model that runs in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skywright.evaluate.backends.packed import can_pack, packed_product, packed_weight

CHUNK_ROWS = 256
"""Rows of fp32 logits at a time where a model makes its own logits."""

BLOCK_COLUMNS = 4_096
"""Entries of the vocabulary at a time on a processor, ..."""
PRODUCT_BYTES = 8 * 2**20
"""... and logits: few enough to stay near the cores until they are summed, rows enough for a
product. Against 64 MiB over the whole vocabulary, head of 576 x 49,152: 1.35 times as fast in fp32,
1.07 in bf16; 1,024 to 8,192 columns and 4 to 16 MiB are within 5 %."""
DEVICE_PRODUCT_BYTES = 64 * 2**20
"""Logits at a time elsewhere, over the whole vocabulary."""
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


def vocabulary_blocks(weight: Tensor) -> list[Tensor]:
    """An output weight (vocabulary, width) as `linear_losses` reads it fastest."""
    if weight.device.type != "cpu":
        return [weight]
    blocks = weight.detach().split(BLOCK_COLUMNS)
    return [packed_weight(block) if can_pack(block) else block for block in blocks]


def linear_losses(
    rows: Tensor, blocks: Sequence[Tensor], bias: Tensor | None, labels: Tensor
) -> Tensor:
    """-ln p(label) in fp32, (rows,), where logits are rows @ weight.T + bias.

    rows (rows, width) and blocks, which are the weight (vocabulary, width) as `vocabulary_blocks`
    cuts it, of one dtype, which is that of the product. The log-sum-exp over the vocabulary is
    fp32, gathered block by block with the largest logit so far taken out.
    """
    columns = len(blocks[0])
    if rows.device.type == "cpu":
        product_bytes, few = PRODUCT_BYTES, TABLE_BYTES // (columns * 4) or 1
    else:  # a device sums up all rows of a product at once
        product_bytes, few = DEVICE_PRODUCT_BYTES, len(rows)
    many = product_bytes // (columns * rows.element_size()) or 1
    losses = [
        _block_losses(chunk, blocks, bias, label, few)
        for chunk, label in zip(rows.split(many), labels.split(many), strict=True)
    ]
    return torch.cat(losses)


def _block_losses(
    rows: Tensor, blocks: Sequence[Tensor], bias: Tensor | None, labels: Tensor, few: int
) -> Tensor:
    """`linear_losses` of rows whose logits with a block are made at once, summed `few` by few."""
    largest, total, picked = torch.zeros(3, len(rows), 1, device=rows.device)
    largest.fill_(torch.finfo(largest.dtype).min)
    first = 0
    for block in blocks:
        packed = block.is_mkldnn
        logits = packed_product(rows, block, None, "none") if packed else F.linear(rows, block)
        for place in range(0, len(rows), few):
            here = slice(place, place + few)
            part = logits[here].float()
            if bias is not None:
                part += bias[first : first + len(block)]
            _sum_up(part, labels[here, None] - first, largest[here], total[here], picked[here])
        first += len(block)
    return (total.log_() + largest - picked).squeeze(-1)


def _sum_up(logits: Tensor, labels: Tensor, largest: Tensor, total: Tensor, picked: Tensor) -> None:
    """Take a block's logits (rows, columns), fp32, into what is known of the rows, (rows, 1) each.

    labels count from the block's first column and may lie outside. largest: the largest logit;
    total: the sum of exp(logit - largest); picked: the label's logit. The logits are overwritten.
    """
    columns = logits.shape[1]
    inside = (labels >= 0) & (labels < columns)
    at_label = logits.gather(-1, labels.clamp(0, columns - 1))
    torch.where(inside, at_label, picked, out=picked)
    new = torch.maximum(largest, logits.amax(-1, keepdim=True))
    total.mul_(largest.sub_(new).exp_()).add_(logits.sub_(new).exp_().sum(-1, keepdim=True))
    largest.copy_(new)
