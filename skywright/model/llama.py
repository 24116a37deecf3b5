"""The LLaMA decoder: token ids in, hidden states out; it knows nothing of parallelism or training.

Parameter names follow Hugging Face's LlamaForCausalLM (`skywright.model.hf` maps them), and the
rotary layout is theirs too (the two halves of a head are the pairs), so a model is written and
read without permuting anything.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skywright.model.attention import causal_attention
from skywright.model.config import ModelConfig
from skywright.model.head import Head
from skywright.model.rotary import rotary_tables, rotate


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
        above = gradients[0].flatten(0, -2).float()
        table = above.new_zeros(ctx.rows, above.shape[-1])
        return None, table.index_add_(0, ids.flatten(), above).to(ctx.dtype)


class Embedding(nn.Module):
    """A row of `weight` (vocab_size, hidden) for each token."""

    def __init__(self, vocab_size: int, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden))

    def forward(self, ids: Tensor) -> Tensor:
        """ids (...) int64 -> (..., hidden)."""
        return _Lookup.apply(ids, self.weight)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019), measured in fp32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., width), same dtype."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Attention(nn.Module):
    """Causal self-attention with rotary positions; grouped queries when kv_heads < heads."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        width, kv_width = config.heads * self.head_size, config.key_value_heads * self.head_size
        self.q_proj = nn.Linear(config.hidden, width, bias=False)
        self.k_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.v_proj = nn.Linear(config.hidden, kv_width, bias=False)
        self.o_proj = nn.Linear(width, config.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same; `cos`, `sin` are (tokens, head_size / 2)."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_size)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        y = causal_attention(rotate(q, cos, sin), rotate(k, cos, sin), v)
        return self.o_proj(y.transpose(1, 2).flatten(-2))


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.ffn_hidden, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.ffn_hidden, bias=False)
        self.down_proj = nn.Linear(config.ffn_hidden, config.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., hidden) -> (..., hidden)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One decoder layer: attention, then the feed-forward block, each on a normalised copy."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.norm_eps)
        self.mlp = FeedForward(config)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, tokens, hidden) -> the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """The whole model. `model(ids)` gives hidden states; `model.head` turns them into losses."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = Embedding(config.vocab_size, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden, config.norm_eps)
        self.head = Head(config.hidden, config.vocab_size)
        if config.tie_embeddings:
            self.head.weight = self.embed_tokens.weight

    def initialise(self, seed: int) -> None:
        """Draw all weights from `seed`, independently of any other random state.

        Normal with standard deviation sqrt(2 / (5 hidden)) (Nguyen and Salazar 2019, section 2.2,
        as in GPT-NeoX-20B), divided by sqrt(2 layers) for the two projections that write to the
        residual stream (GPT-2, Radford et al. 2019, section 2.3); norms start at 1. Measured at
        hidden 192 (where the rule gives 0.046), tied, after 600k tokens, held out: 6.61 nats a
        token with the usual 0.02, 6.41 with 0.04, 6.40 with 0.07.
        """
        generator = torch.Generator().manual_seed(seed)
        std = (2 / (5 * self.config.hidden)) ** 0.5
        for name, parameter in self.named_parameters():
            if parameter.ndim == 1:
                nn.init.ones_(parameter)
                continue
            residual = name.endswith(("o_proj.weight", "down_proj.weight"))
            divisor = (2 * self.config.layers) ** 0.5 if residual else 1.0
            nn.init.normal_(parameter, std=std / divisor, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (batch, tokens) int -> hidden states after the last norm (batch, tokens, hidden).

        Raises ValueError if the sequence is longer than `context_tokens`.
        """
        if ids.shape[1] > self.config.context_tokens:
            raise ValueError(
                f"{ids.shape[1]} tokens do not fit a context of {self.config.context_tokens}"
            )
        x = self.embed_tokens(ids)
        cos, sin = rotary_tables(
            ids.shape[1], self.config.head_size, self.config.rope_theta, x.dtype, x.device
        )
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, ids: Tensor) -> Tensor:
        """ids (batch, tokens) -> logits (batch, tokens, vocab_size); for checks and generation."""
        return F.linear(self(ids), self.head.weight)
