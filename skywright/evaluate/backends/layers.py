"""Decoder layers of the LLaMA family in fewer passes over their activations, on a processor.

transformers writes every step of a layer out as an operation of its own: six passes for a norm, ten
for a rotation, one for each residual sum. Here a norm takes three, a rotation four halves, and the
sums stand inside the products. It works on packed layers (`packed`), is tried on each layer against
the layer itself, and hands everything but plain causal attention back to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skywright.evaluate.backends.attention import causal_attention
from skywright.evaluate.backends.packed import ROUNDING, GatedPacked, PackedLinear

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
_PROBE_TOKENS = 7


class JoinedLayer(nn.Module):
    """A layer with pre-norms, rotary positions and a gated feed-forward layer, as LLaMA's.

    The layer it was made from stays inside, for calls with a mask, a cache or gradients.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        past_key_values: Any = None,
        **more: Any,
    ) -> Tensor:
        """What the layer makes of states (windows, tokens, width)."""
        window = getattr(self.layer.self_attn, "sliding_window", None)
        plain = (
            attention_mask is None
            and past_key_values is None
            and position_embeddings is not None
            and hidden_states.shape[1] > 1
            and (window is None or hidden_states.shape[1] <= window)
            and not torch.is_grad_enabled()
        )
        if plain:
            return self.joined(hidden_states, position_embeddings)
        found: Tensor = self.layer(
            hidden_states,
            attention_mask=attention_mask,
            position_embeddings=position_embeddings,
            past_key_values=past_key_values,
            **more,
        )
        return found

    def joined(self, x: Tensor, positions: Any) -> Tensor:
        """The layer for plain causal attention; positions: cosines and sines, as the model's."""
        layer: Any = self.layer
        attention, size = layer.self_attn, layer.self_attn.head_dim
        normed = rms_norm(x, layer.input_layernorm)
        q, k, v = (
            project(normed).unflatten(-1, (-1, size)).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        q, k = rotated(q, *positions), rotated(k, *positions)
        seen = causal_attention(q, k, v, attention.scaling).flatten(2)
        x = attention.o_proj.plus(seen, x)
        out: Tensor = layer.mlp.plus(rms_norm(x, layer.post_attention_layernorm), x)
        return out


def rms_norm(x: Tensor, norm: Any) -> Tensor:
    """x / rms(x) * weight, (..., width), with the roundings of transformers' LLaMA."""
    wide = x.float()
    scale = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    scale = scale.square_().div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()
    return (wide * scale).to(x.dtype).mul_(norm.weight)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x (windows, heads, tokens, size) turned by cos, sin (., tokens, size).

    The halves of a head are its two coordinates, as in transformers: cos and sin repeat
    themselves.
    """
    half = x.shape[-1] // 2
    cos, sin = cos[:, None, :, :half], sin[:, None, :, :half]
    out = torch.empty(x.shape, dtype=x.dtype)
    torch.mul(x[..., :half], cos, out=out[..., :half]).addcmul_(x[..., half:], sin, value=-1)
    torch.mul(x[..., half:], cos, out=out[..., half:]).addcmul_(x[..., :half], sin)
    return out


@torch.no_grad()
def join(model: nn.Module) -> None:
    """Put a `JoinedLayer` in the place of every packed decoder layer that one can stand for."""
    layers = getattr(model, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        return
    for index, layer in enumerate(layers):
        if _is_joinable(layer):
            layers[index] = JoinedLayer(layer)


def _is_joinable(layer: Any) -> bool:
    """Whether the layer computes what `JoinedLayer.joined` does: tried on random states."""
    attention = getattr(layer, "self_attn", None)
    projections = [getattr(attention, name, None) for name in _PROJECTIONS]
    if not all(isinstance(projection, PackedLinear) for projection in projections):
        return False
    if not isinstance(getattr(layer, "mlp", None), GatedPacked):
        return False
    random = torch.Generator().manual_seed(0)
    width, dtype = layer.self_attn.q_proj.in_features, layer.self_attn.q_proj.weight.dtype
    # Small beside what the layer adds, whose size does not follow from the states': in bf16 their
    # sum would hide it.
    x = (torch.randn(2, _PROBE_TOKENS, width, generator=random) / 64).to(dtype)
    try:
        half = layer.self_attn.head_dim // 2
        angles = torch.randn(1, _PROBE_TOKENS, half, generator=random).repeat(1, 1, 2)
        positions = angles.cos().to(dtype), angles.sin().to(dtype)
        found = JoinedLayer(layer).joined(x, positions) - x
        wanted = layer(x, attention_mask=None, position_embeddings=positions) - x
    except (RuntimeError, TypeError, AttributeError, ValueError, IndexError):
        return False
    return float((found - wanted).norm()) <= 2 * ROUNDING[dtype] * float(wanted.norm())
