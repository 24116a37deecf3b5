"""The parts that every decoder is made of: embedding, attention, feed-forward block, layer.

`architecture` picks among them: LLaMA takes RMSNorm, rotary positions and SwiGLU, GPT LayerNorm,
learned positions, GELU and biases. Both have the parameter names of Hugging Face's
LlamaForCausalLM, and separate matrices for queries, keys, values, gate and up: one product over
them joined was measured 1.03 times as fast for the three and slower for the two, whose halves then
lie strided.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skywright.model.attention import Kernel, causal_attention
from skywright.model.cache import LayerCache
from skywright.model.config import ModelConfig
from skywright.model.rotary import rotate


class Places(NamedTuple):
    """What a layer must know of where its tokens stand.

    rotary: tables of cosines and sines (see `rotary_tables`), None with learned positions;
    documents (batch, tokens): number of each position's document, None where there is but one.
    """

    rotary: tuple[Tensor, Tensor] | None = None
    documents: Tensor | None = None


class _Lookup(torch.autograd.Function):
    """Rows of a table. The gradient is summed in fp32: a frequent token's row is added to hundreds
    of times a batch, and in bf16 most of that would be rounded away."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.rows, ctx.dtype = len(weight), weight.dtype
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (ids,) = ctx.saved_tensors
        above = gradients[0].flatten(0, -2).to(torch.promote_types(ctx.dtype, torch.float32))
        table = above.new_zeros(ctx.rows, above.shape[-1])
        return None, table.index_add_(0, ids.flatten(), above).to(ctx.dtype)


def lookup(ids: Tensor, table: Tensor) -> Tensor:
    """ids (...) int64, table (rows, hidden) -> (..., hidden)."""
    return _Lookup.apply(ids, table)


class Embedding(nn.Module):
    """A row of `weight` (rows, hidden) for each id or position."""

    def __init__(self, rows: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, hidden))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) int64 -> (..., hidden)."""
        return lookup(ids, self.weight)


def make_norm(config: ModelConfig) -> nn.Module:
    """RMSNorm (Zhang and Sennrich 2019) for LLaMA, LayerNorm (Ba et al. 2016) for GPT."""
    norm = nn.LayerNorm if config.architecture == "gpt" else nn.RMSNorm
    return norm(config.hidden, eps=config.norm_eps)


class Attention(nn.Module):
    """Causal self-attention; grouped queries when kv_heads < heads."""

    def __init__(self, config: ModelConfig, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.head_size, self.kernel = config.head_size, kernel
        biased = config.architecture == "gpt"
        width, kv_width = config.heads * self.head_size, config.key_value_heads * self.head_size
        self.q_proj = nn.Linear(config.hidden, width, bias=biased)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=biased)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=biased)
        self.o_proj = nn.Linear(width, config.hidden, bias=biased)
        self.q_norm = self.k_norm = None
        if config.qk_norm:  # on each head by itself, as in Qwen3
            self.q_norm = nn.RMSNorm(self.head_size, eps=config.norm_eps)
            self.k_norm = nn.RMSNorm(self.head_size, eps=config.norm_eps)

    def forward(self, x: Tensor, places: Places, cache: LayerCache | None = None) -> Tensor:
        """(batch, tokens, hidden) -> the same."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if places.rotary is not None:
            q, k = rotate(q, *places.rotary), rotate(k, *places.rotary)
        if cache is not None:
            k, v = cache.extend(k, v)
        y = causal_attention(q, k, v, places.documents, self.kernel)
        return self.o_proj(y.transpose(1, 2).flatten(-2))


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn_hidden, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn_hidden, bias=False)
        self.down_proj = nn.Linear(config.ffn_hidden, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., hidden) -> (..., hidden)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class GELUBlock(nn.Module):
    """down(gelu(up(x))), GELU by its tanh form, as GPT-2 computes it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden, config.ffn_hidden)
        self.down_proj = nn.Linear(config.ffn_hidden, config.hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(..., hidden) -> (..., hidden)."""
        return self.down_proj(F.gelu(self.up_proj(x), approximate="tanh"))


class Layer(nn.Module):
    """One decoder layer: attention, then the feed-forward block, each on a normalised copy."""

    def __init__(self, config: ModelConfig, kernel: Kernel = "auto") -> None:
        super().__init__()
        self.input_layernorm = make_norm(config)
        self.self_attn = Attention(config, kernel)
        self.post_attention_layernorm = make_norm(config)
        self.mlp = GELUBlock(config) if config.architecture == "gpt" else SwiGLU(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, places: Places, cache: LayerCache | None = None) -> Tensor:
        """(batch, tokens, hidden) -> the same."""
        x = x + self.dropout(self.self_attn(self.input_layernorm(x), places, cache))
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))
