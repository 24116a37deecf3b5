"""Data and models that misbehave at chosen samples, on every run and every process alike."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from skywright.model.decoder import Decoder
from tests.train.small import VOCABULARY

POISON = VOCABULARY - 1  # a row of this token alone makes `NotFinite` give NaN


class Noisy:
    """A loader whose steps are noise, or `POISON`, wherever they hold one of the `samples`.

    Noise costs far more than the text that the model has learnt: a spike of the loss.
    """

    def __init__(self, loader: Any, samples: Collection[int], poison: bool = False) -> None:
        self._loader, self._bad, self._poison = loader, samples, poison
        self.plan, self.shards = loader.plan, loader.shards
        self.packing, self.infilling = loader.packing, loader.infilling

    def batches(self, samples: Any, documents: bool = False) -> Any:
        for numbers in samples:
            batch = self._loader.batch(numbers)
            if any(bad in numbers for bad in self._bad):
                draw = np.random.default_rng(numbers[0])
                for part in (batch.inputs, batch.labels):
                    part[:] = POISON if self._poison else draw.integers(0, VOCABULARY, part.shape)
            yield batch


class At:
    """A loader that calls `act` once, before it hands over the step that holds `sample`."""

    def __init__(self, loader: Any, sample: int, act: Callable[[], Any]) -> None:
        self._loader, self._sample, self._act = loader, sample, act
        self.plan, self.shards = loader.plan, loader.shards
        self.packing, self.infilling = loader.packing, loader.infilling

    def batches(self, samples: Any, documents: bool = False) -> Any:
        for numbers in samples:
            if self._sample in numbers:
                self._act()
            yield self._loader.batch(numbers)


class NotFinite(Decoder):
    """A model whose states are NaN for a batch of `POISON`."""

    def forward(
        self, ids: torch.Tensor, positions: torch.Tensor | None = None, cache: Any = None
    ) -> torch.Tensor:
        states = super().forward(ids, positions, cache)
        return states * float("nan") if bool((ids == POISON).all()) else states
