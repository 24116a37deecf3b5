"""The model that is trained and its optimizer, whole on one process or spread over many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor

from skywright.evaluate.backends import Backend
from skywright.evaluate.backends.skywright import SkywrightBackend
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.head import IGNORE
from skywright.parallel.config import ParallelConfig
from skywright.parallel.gradients import collected
from skywright.parallel.materialise import Weights
from skywright.parallel.mesh import data_rank, make_mesh, rows_of
from skywright.parallel.step import ParallelModel, StepLoss
from skywright.parallel.world import World
from skywright.tokenizer import Tokenizer
from skywright.train.optimizer import MasterOptimizer, OptimizerConfig
from skywright.train.scoring import SpreadBackend

Draws = Callable[[int], AbstractContextManager[None]]
"""Of a row's number in the step: the block in which whatever the row's pass draws is drawn."""


class Learner(Protocol):
    """What a run trains. Every process of a run calls the same methods in the same order."""

    optimizer: MasterOptimizer

    def rows(self, samples: int) -> range:
        """Which of a step's samples this process reads, by their place in the step."""
        ...

    def forward_backward(
        self,
        inputs: Tensor,
        labels: Tensor,
        positions: Tensor | None,
        samples: int,
        micro_batch_rows: int | None,
        draws: Draws,
    ) -> StepLoss:
        """The step's gradient, added up in the optimizer, and its loss, the same everywhere.

        inputs, labels, positions (rows, tokens) int64: of the step's `samples`, those in `rows`.
        """
        ...

    def backend(self, tokenizer: Tokenizer) -> Backend:
        """The model as it stands, for scoring."""
        ...

    def whole_weights(self) -> Iterator[tuple[str, Tensor | None]]:
        """The fp32 masters by name, each whole, on the first process; None on others."""
        ...


class Whole:
    """On one process."""

    def __init__(
        self,
        config: ModelConfig,
        optimizer: OptimizerConfig,
        dtype: torch.dtype,
        layout: ParallelConfig,
        compiled: bool,
        device: torch.device,
        weights: Weights | None,
    ) -> None:
        """Without `weights` they are to be read from a checkpoint, and published."""
        self.model = Decoder(config).to(device)
        self.model.recompute = layout.checkpointing == "full"
        if weights is not None:
            with torch.no_grad():
                for name, parameter in self.model.named_parameters():
                    parameter.copy_(weights(name, parameter.shape))
        # The optimizer's fp32 masters are made of the weights before they are rounded.
        self.optimizer = MasterOptimizer(self.model, optimizer)
        self.model.to(dtype)
        if compiled:
            self.model.compile_layers()
        self.optimizer.publish()
        self._device = device

    def rows(self, samples: int) -> range:
        """All."""
        return range(samples)

    def forward_backward(
        self,
        inputs: Tensor,
        labels: Tensor,
        positions: Tensor | None,
        samples: int,
        micro_batch_rows: int | None,
        draws: Draws,
    ) -> StepLoss:
        """See `Learner`."""
        counted, nats = int((labels != IGNORE).sum()), 0.0
        if not counted:
            return StepLoss(0.0, 0)
        inputs, labels = inputs.to(self._device), labels.to(self._device)
        at_once = micro_batch_rows or samples
        for first in range(0, samples, at_once):
            part = slice(first, first + at_once)
            with draws(first):
                where = None if positions is None else positions[part].to(self._device)
                loss = self.model.head(self.model(inputs[part], where), labels[part])
                # Normalised by the labels of the whole step: micro-batches change nothing.
                (loss.total / counted).backward()
            self.optimizer.accumulate()
            nats += loss.nats.item()
        return StepLoss(nats, counted)

    def backend(self, tokenizer: Tokenizer) -> Backend:
        """See `Learner`."""
        return SkywrightBackend(self.model, tokenizer)

    def whole_weights(self) -> Iterator[tuple[str, Tensor | None]]:
        """See `Learner`."""
        for name, weight in sorted(self.optimizer.weights.items()):
            yield name, weight.cpu()


class Spread:
    """Over the processes of a world."""

    def __init__(
        self,
        config: ModelConfig,
        optimizer: OptimizerConfig,
        dtype: torch.dtype,
        layout: ParallelConfig,
        compiled: bool,
        world: World,
        weights: Weights | None,
    ) -> None:
        """Without `weights` they are to be read from a checkpoint."""
        self._world, self._layout = world, layout
        self._mesh = make_mesh(layout, config, world.device.type)
        with torch.device("meta"):
            model = Decoder(config)
        self.parallel = ParallelModel(model, self._mesh, layout, dtype, weights, compiled)
        self.optimizer = MasterOptimizer(self.parallel.model, optimizer, self._mesh)

    def rows(self, samples: int) -> range:
        """Every so many-th, from this data rank's own."""
        return range(samples)[rows_of(self._mesh)]

    def forward_backward(
        self,
        inputs: Tensor,
        labels: Tensor,
        positions: Tensor | None,
        samples: int,
        micro_batch_rows: int | None,
        draws: Draws,
    ) -> StepLoss:
        """See `Learner`. Ranks that have fewer samples than others get empty ones."""
        rows, at_once = self._even(samples, micro_batch_rows)
        inputs, labels = self._filled(inputs, rows, 0), self._filled(labels, rows, IGNORE)
        if positions is not None:
            positions = self._filled(positions, rows, 0)
        with draws(data_rank(self._mesh)):  # the same for ranks that share these samples
            loss = self.parallel.forward_backward(inputs, labels, positions, at_once)
        self.optimizer.accumulate()
        return loss

    def _even(self, samples: int, micro_batch_rows: int | None) -> tuple[int, int]:
        """Rows that every data rank runs, and how many of them at once."""
        rows = -(-samples // self._layout.data)
        at_once = min(micro_batch_rows or rows, rows)
        if self._layout.pipeline > 1:  # a segment's last, smaller step must fill the stages too
            rows = at_once * max(-(-rows // at_once), self._layout.pipeline)
        return rows, at_once

    def _filled(self, table: Tensor, rows: int, value: int) -> Tensor:
        """`table` on the device, with rows of `value` added up to `rows`."""
        if len(table) < rows:
            table = torch.cat([table, table.new_full((rows - len(table), table.shape[1]), value)])
        return table.to(self._world.device)

    def backend(self, tokenizer: Tokenizer) -> Backend:
        """See `Learner`."""
        return SpreadBackend(self.parallel, tokenizer)

    def whole_weights(self) -> Iterator[tuple[str, Tensor | None]]:
        """See `Learner`."""
        return collected(self.optimizer.tensors()["weights"], self._world)
