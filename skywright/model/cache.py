"""Keys and values of what was read before, so that a next token costs one position."""

from __future__ import annotations

import torch
from torch import Tensor

from skywright.model.config import ModelConfig


class LayerCache:
    """One layer's keys and values, (batch, kv_heads, capacity, head_size) each."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
        self.keys = torch.empty(shape, dtype=dtype, device=device)
        self.values = torch.empty_like(self.keys)
        self.length = 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k and v (batch, kv_heads, new, head_size); return all so far."""
        end = self.length + k.shape[2]
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]


class KeyValueCache:
    """A cache for each layer; `model(ids, cache=cache)` reads and fills it. Not for training."""

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        capacity_tokens: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch, config.key_value_heads, capacity_tokens, config.head_size)
        self.layers = [LayerCache(shape, dtype, torch.device(device)) for _ in range(config.layers)]

    @property
    def length(self) -> int:
        """Positions read so far."""
        return self.layers[0].length
