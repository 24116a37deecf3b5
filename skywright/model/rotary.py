"""Rotary positions (Su et al. 2021) in Hugging Face's half layout."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from skywright.model.config import LinearScaling, Llama3Scaling, ModelConfig


def frequencies(config: ModelConfig, device: torch.device | None = None) -> Tensor:
    """Angle by which each pair turns from one position to the next: fp32 (head_size / 2).

    theta^(-2i / head_size), slowed by `rope_scaling`.
    """
    pairs = torch.arange(0, config.head_size, 2, dtype=torch.float32, device=device)
    angles = 1.0 / config.rope_theta ** (pairs / config.head_size)
    if isinstance(config.rope_scaling, LinearScaling):
        return angles / config.rope_scaling.factor
    if isinstance(config.rope_scaling, Llama3Scaling):
        return _llama3(angles, config.rope_scaling)
    return angles


def _llama3(angles: Tensor, scaling: Llama3Scaling) -> Tensor:
    """Between the two factors the slowed and the plain angle are mixed in proportion."""
    turns = scaling.original_context_tokens * angles / (2 * math.pi)
    width = scaling.high_freq_factor - scaling.low_freq_factor
    plain = ((turns - scaling.low_freq_factor) / width).clamp(0, 1)
    return plain * angles + (1 - plain) * angles / scaling.factor


def rotary_tables(
    positions: Tensor, config: ModelConfig, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions (tokens) or (batch, tokens).

    Two tables (batch or 1, 1, tokens, head_size / 2): the axis of heads is left open. Angles are
    computed in fp32 and rounded to `dtype` once, as transformers does.
    """
    angles = positions.float().unsqueeze(-1) * frequencies(config, positions.device)
    if angles.ndim == 2:
        angles = angles[None]
    return angles.cos()[:, None].to(dtype), angles.sin()[:, None].to(dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (x[i], x[i + head_size / 2]) of x (batch, heads, tokens, head_size)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
