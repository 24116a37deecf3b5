"""Causal attention for scoring in bf16 on a processor, given to transformers by name.

torch's kernel for the processor reaches a fifth of the matrix products' speed in bf16, and was a
third of a forward pass. Here the scores are made by blocks of rows, each against the columns up to
its own end, with plain products. Measured on two cores with AVX512-BF16, 9 heads of 64: 8.0 ms for
17.7 at 4 x 512 tokens, 26 for 41 at 1 x 2,048. In fp32 torch's kernel is as fast or faster.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "skywright_blocked"

BLOCK_ROWS = 128
"""Of 32, 64, 128 and 256 the fastest or near it from 256 to 2,048 tokens."""


def use_blocked_attention(model: PreTrainedModel) -> None:
    """Let a model that would use torch's kernel, in bf16 on a processor, use this one."""
    if model.config._attn_implementation != "sdpa":
        return
    if (model.device.type, model.dtype) != ("cpu", torch.bfloat16):
        return
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def blocked_forward(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v, each position seeing itself and what came before; no gradients.

    q (batch, heads, tokens, size); k, v with a divisor of heads. Returns (batch, tokens, heads,
    size).
    """
    batch, heads, tokens, _ = q.shape
    group = heads // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    q, k, v = (x.reshape(-1, tokens, x.shape[-1]) for x in (q * scale, k, v))
    rows = min(BLOCK_ROWS, tokens)
    ahead = q.new_full((rows, rows), float("-inf")).triu_(1)
    # Used again by every block: fresh memory for each would cost a fifth of the time.
    scores_memory, shares_memory = (q.new_empty(len(q) * rows * tokens) for _ in range(2))
    out = q.new_empty(batch, tokens, heads, v.shape[-1])
    for start in range(0, tokens, rows):
        end = min(start + rows, tokens)
        shape = len(q), end - start, end
        scores, shares = (m[: math.prod(shape)].view(shape) for m in (scores_memory, shares_memory))
        torch.bmm(q[:, start:end], k[:, :end].mT, out=scores)
        scores[:, :, start:] += ahead[: end - start, : end - start]
        torch.softmax(scores, -1, out=shares)
        seen = torch.bmm(shares, v[:, :end]).view(batch, heads, end - start, -1)
        out[:, start:end] = seen.transpose(1, 2)
    return out


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: blocks for plain causal attention, else torch's kernel."""
    tokens = query.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    window = more.get("sliding_window")
    plain = (
        causal
        and attention_mask is None
        and 1 < tokens == key.shape[2]
        and (window is None or tokens <= window)
        and more.get("position_bias") is None
        and more.get("softcap") is None
        and not torch.is_grad_enabled()
    )
    if not plain:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **more
        )
        return found
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return blocked_forward(query, key, value, scale), None
