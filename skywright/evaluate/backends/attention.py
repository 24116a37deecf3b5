"""Causal attention for scoring on a processor, given to transformers by name.

torch's kernel for the processor reaches a tenth to a half of the matrix products' speed, and was a
sixth to a third of a forward pass. Here the scores are made by blocks of rows, each against the
columns up to its own end, with plain products; heads that share keys share a product. Milliseconds
on two cores with AVX512, 9 heads of 64 over 3 of keys (torch's kernel, this one):

    windows x tokens   13 x 150     4 x 512      2 x 1,024    1 x 2,048
    fp32                6.3, 4.0    16.3, 9.2    18.3, 17.3   32.7, 32.9
    bf16                7.3, 5.9    19.2, 14.1   26.8, 25.7   46.7, 54.1

In bf16 other processors gain where this one loses (26 for 41 at 1 x 2,048 on a Zen 5); in fp32 long
windows stay with torch's kernel.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "skywright_blocked"

BLOCK_ROWS = 64
"""Rows of a block, twice as many beyond LONG_TOKENS: of 32 to 256 the fastest or near it."""
LONG_TOKENS = 768

BLOCKED_TOKENS = {torch.float32: 1024, torch.bfloat16: None}
"""The longest windows that go by blocks (None: all), of the dtypes in which any are faster so."""

MOST_IDLE = 0.15
"""Share of the threads' time that products of unequal number may leave idle."""


def use_blocked_attention(model: PreTrainedModel) -> None:
    """Let a model that would use torch's kernel on a processor use this one."""
    if model.config._attn_implementation != "sdpa" or model.device.type != "cpu":
        return
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """softmax(scale q k^T) v, each position seeing itself and what came before; no gradients.

    q (batch, heads, tokens, size); k, v with a divisor of heads. Returns (batch, tokens, heads,
    size).
    """
    longest = BLOCKED_TOKENS.get(q.dtype, 0)
    if longest is None or q.shape[2] <= longest:
        return blocked_attention(q, k, v, scale)
    many = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    return many.transpose(1, 2)


def blocked_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """`causal_attention` by blocks of rows."""
    batch, heads, tokens, size = q.shape
    shared = k.shape[1]
    group = heads // shared
    rows = BLOCK_ROWS if tokens <= LONG_TOKENS else 2 * BLOCK_ROWS
    # The heads of a group follow one another, so their rows are one matrix before their keys.
    parts, products = 1, batch * shared
    k, v = (x.reshape(products, tokens, -1) for x in (k, v))
    if _idle_share(products) > MOST_IDLE:  # two matrices then, so that threads have as many
        parts, products = 2, 2 * products
        k, v = (x[:, None].expand(-1, parts, -1, -1).flatten(0, 1) for x in (k, v))
        q = F.pad(q, (0, 0, 0, tokens % parts))
    q = q.unflatten(1, (shared, group))
    ahead = q.new_full((rows, rows), float("-inf")).triu_(1)
    # Used again by every block: fresh memory for each would cost a fifth of the time.
    largest = batch * heads * min(rows, q.shape[3]) * tokens
    scores_memory, shares_memory = (q.new_empty(largest) for _ in range(2))
    out = q.new_empty(batch, tokens, shared, group, v.shape[-1])
    for start in range(0, tokens, rows):
        end = min(start + rows, tokens)
        asked = q[:, :, :, start : start + rows] * scale
        many = asked.shape[3]
        shape = products, group * many // parts, end
        scores, shares = (m[: math.prod(shape)].view(shape) for m in (scores_memory, shares_memory))
        torch.bmm(asked.reshape(products, -1, size), k[:, :end].mT, out=scores)
        diagonal = scores.view(batch, shared, group, many, end)[..., start:]
        diagonal += ahead[:many, : end - start]
        torch.softmax(scores, -1, out=shares)
        seen = torch.bmm(shares, v[:, :end]).view(batch, shared, group, many, -1)
        out[:, start:end] = seen[:, :, :, : end - start].permute(0, 3, 1, 2, 4)
    return out.flatten(2, 3)


def _idle_share(products: int) -> float:
    """What share of the threads' time is idle where each makes whole products only."""
    threads = torch.get_num_threads()
    return 1 - products / (math.ceil(products / threads) * threads)


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
    return causal_attention(query, key, value, scale), None
