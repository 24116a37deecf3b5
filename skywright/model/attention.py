"""Causal attention: torch's kernel, or plain matrix products over blocks of rows.

A processor does matrix products near its peak and torch's attention kernel far below it. So on a
processor the scores are made by blocks of rows, each block against the columns up to its own end:
what lies ahead of a block is never touched, which saves nearly half of the work. The block form is
an operator of its own (`skywright::blocked_attention`), so torch.compile takes it as one node: the
layer around it compiles in seconds and without a break.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Kernel = Literal["auto", "sdpa", "blocked"]
"""sdpa     torch's scaled_dot_product_attention
blocked  matrix products over blocks of rows; keeps batch * heads * tokens^2 / 2 probabilities
         for the backward pass
auto     blocked on a processor up to BLOCKED_CONTEXT_TOKENS, else sdpa"""

BLOCK_ROWS = 64
"""Rows of scores at a time. Forward and backward in bf16 at batch 8, 4 heads, 512 x 64, one core
with AVX512-BF16, against torch's kernel: 64 rows take 0.36 of its time, 32 rows 0.43, 128 rows
0.38, 256 rows 0.47, all rows at once 0.62."""

BLOCKED_CONTEXT_TOKENS = 1024
"""Longer sequences take torch's kernel: the blocks' memory grows with the square."""


def causal_attention(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None = None, kernel: Kernel = "auto"
) -> Tensor:
    """softmax(q k^T / sqrt(head_size)) v, each position seeing itself and what came before.

    q (batch, heads, tokens, head_size); k, v (batch, kv_heads, tokens, head_size), where kv_heads
    divides heads and each of its heads serves heads / kv_heads neighbouring query heads. There may
    be more keys than queries: the queries are then the last positions. documents (batch, tokens):
    a number for each position's document; other documents are not seen. Returns q's shape.
    """
    if kernel == "auto":
        short = k.shape[2] <= BLOCKED_CONTEXT_TOKENS
        kernel = "blocked" if q.device.type == "cpu" and short else "sdpa"
    group = q.shape[1] // k.shape[1]
    if q.shape[2] == k.shape[2] and kernel == "blocked":
        if group > 1:
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        out, _ = blocked_attention(q, k, v, documents)
        return out
    mask = None
    if documents is not None or q.shape[2] < k.shape[2]:
        mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
        mask = mask.tril(k.shape[2] - q.shape[2])
        if documents is not None:
            mask = mask & (documents[:, :, None] == documents[:, None, :])[:, None]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=group > 1
    )


def _blocks(tokens: int) -> Iterator[tuple[int, int]]:
    for start in range(0, tokens, BLOCK_ROWS):
        yield start, min(start + BLOCK_ROWS, tokens)


@torch.library.custom_op("skywright::blocked_attention", mutates_args=())
def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """`causal_attention` for as many keys as queries and equal numbers of heads.

    Also returns each block's probabilities (batch * heads, rows, columns) for the backward pass.
    """
    batch, heads, tokens, size = q.shape
    q, k, v = (x.reshape(-1, tokens, size) for x in (q, k, v))
    # Not empty_like: a single row is a view with its heads strided, which no output may have.
    out = q.new_empty(q.shape)
    kept = []
    for start, end in _blocks(tokens):
        ahead = q.new_full((end - start, end), float("-inf")).triu_(start + 1)
        # A slice is copied before the product in any case; here in order, there transposed.
        columns = k[:, :end].contiguous().mT
        scores = torch.baddbmm(ahead, q[:, start:end], columns, alpha=size**-0.5)
        if documents is not None:
            other = documents[:, start:end, None] != documents[:, None, :end]
            scores.view(batch, heads, *other.shape[1:]).masked_fill_(other[:, None], float("-inf"))
        kept.append(torch.softmax(scores, -1))
        out[:, start:end] = torch.bmm(kept[-1], v[:, :end])
    return out.view(batch, heads, tokens, size), kept


@torch.library.custom_op("skywright::blocked_attention_backward", mutates_args=())
def _blocked_backward(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    shape = q.shape
    gradient, q, k, v = (x.reshape(-1, *shape[2:]) for x in (gradient, q, k, v))
    scale = shape[3] ** -0.5
    q_grad, k_grad, v_grad = (x.new_empty(x.shape) for x in (q, k, v))
    # From the last block, which has all columns, so that it can write where the others add.
    for (start, end), p in reversed([*zip(_blocks(shape[2]), kept, strict=True)]):
        above, rows = gradient[:, start:end].contiguous(), q[:, start:end]
        p_grad = torch.bmm(above, v[:, :end].contiguous().mT)
        scores_grad = torch._softmax_backward_data(p_grad, p, -1, p.dtype)
        torch.mul(torch.bmm(scores_grad, k[:, :end]), scale, out=q_grad[:, start:end])
        if end == shape[2]:
            torch.bmm(p.mT, above, out=v_grad)
            torch.bmm(scores_grad.mT, rows, out=k_grad).mul_(scale)
        else:
            v_grad[:, :end].baddbmm_(p.mT, above)
            k_grad[:, :end].baddbmm_(scores_grad.mT, rows, alpha=scale)
    return q_grad.view(shape), k_grad.view(shape), v_grad.view(shape)


@blocked_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, documents: Tensor | None) -> tuple[Tensor, list[Tensor]]:
    batch, heads, tokens, _ = q.shape
    kept = [q.new_empty(batch * heads, end - start, end) for start, end in _blocks(tokens)]
    return q.new_empty(q.shape), kept


@_blocked_backward.register_fake
def _(
    gradient: Tensor, q: Tensor, k: Tensor, v: Tensor, kept: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(q.shape), q.new_empty(q.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, list[Tensor]]) -> None:
    q, k, v, _ = inputs
    ctx.save_for_backward(q, k, v, *output[1])


def _backward(
    ctx: Any, gradient: Tensor, _: list[Tensor | None]
) -> tuple[Tensor, Tensor, Tensor, None]:
    q, k, v, *kept = ctx.saved_tensors
    return (*_blocked_backward(gradient, q, k, v, kept), None)


blocked_attention.register_autograd(_backward, setup_context=_save)
