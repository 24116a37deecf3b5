"""A model spread over processes, and the forward and backward passes of one step on it."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from skywright.model.decoder import Decoder
from skywright.model.head import IGNORE
from skywright.parallel.config import ParallelConfig, check_step
from skywright.parallel.fsdp import apply_fsdp, set_last_micro_batch, split_again
from skywright.parallel.materialise import Weights
from skywright.parallel.mesh import sum_over_all
from skywright.parallel.pipeline import Pipeline, Stage, apply_pipeline
from skywright.parallel.tensor import apply_tensor


@dataclass(frozen=True)
class StepLoss:
    """A step's cross-entropy summed over all its labels, on all processes the same numbers."""

    nats: float
    counted: int  # labels

    @property
    def mean_nats(self) -> float:
        """Nats per token; NaN if no label counts."""
        return self.nats / self.counted if self.counted else math.nan


class ParallelModel:
    """A decoder spread over the processes of a mesh.

    `model` is this process's part, whose parameters are fp32 and hold its shares; an optimizer
    made of it after this (`MasterOptimizer(parallel.model, config, mesh)`) steps them in place.
    """

    def __init__(
        self,
        model: Decoder,
        mesh: DeviceMesh,
        config: ParallelConfig,
        dtype: torch.dtype = torch.float32,
        weights: Weights | None = None,
        compiled: bool = False,
    ) -> None:
        """Cuts `model` (fp32, the same weights on every process), which is not to be used further.

        `dtype` is what it multiplies in: fp32 or bf16. A model on the meta device is made real
        as it is cut, so that no process ever holds it whole: of `weights`, or empty without them.
        `compiled`: whether its layers are.
        """
        self.mesh, self.config, self.dtype = mesh, config, dtype
        model.recompute = config.checkpointing == "full"
        # Under tensor parallelism the last norm gives a view of its DTensor; nothing here writes
        # to it in place, which is what torch warns of.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        self.model = apply_pipeline(model, mesh, config)
        apply_tensor(self.model, mesh, config)
        if compiled:
            for layer in self.model.layers.children():
                layer.compile()
        apply_fsdp(self.model, mesh, config, dtype, weights)
        self._pipeline = None
        if isinstance(self.model, Stage):
            self._pipeline = Pipeline(self.model, mesh, config, dtype)

    def forward_backward(
        self,
        inputs: Tensor,
        labels: Tensor,
        positions: Tensor | None = None,
        micro_batch_rows: int | None = None,
    ) -> StepLoss:
        """Gradient of the step's mean loss, left with the parameters, and the loss.

        inputs, labels, positions (rows, tokens) int64: this data rank's samples (`rows_of`), as
        many on every rank, the same on ranks that differ in tensor or pipeline only. The loss is
        divided by the labels of the whole step, so it does not matter how they are spread over
        ranks and micro-batches; some may have none, and if none has any there is no gradient.
        Raises UserError as `check_step` does.
        """
        at_once = micro_batch_rows or len(inputs)
        check_step(self.config, len(inputs), inputs.shape[1], at_once)
        counted = self._count(labels)
        if not counted:
            return StepLoss(0.0, 0)
        if self._pipeline is not None:
            nats = self._pipeline.forward_backward(inputs, labels, positions, at_once, counted)
        else:
            nats = self._micro_batches(inputs, labels, positions, at_once, counted)
        # Tensor ranks have the same loss; stages before the last have none.
        total = sum_over_all(nats.double(), self.mesh).item() / self.config.tensor
        return StepLoss(total, counted)

    def _count(self, labels: Tensor) -> int:
        """Labels of all data ranks."""
        mine = (labels != IGNORE).sum()
        copies = self.config.tensor * self.config.pipeline
        return int(sum_over_all(mine, self.mesh).item()) // copies

    def _micro_batches(
        self, inputs: Tensor, labels: Tensor, positions: Tensor | None, at_once: int, counted: int
    ) -> Tensor:
        nats = []
        for first in range(0, len(inputs), at_once):
            part = slice(first, first + at_once)
            set_last_micro_batch(self.model, self.config, first + at_once >= len(inputs))
            hidden = self.model(inputs[part], None if positions is None else positions[part])
            loss = self.model.head(hidden, labels[part])
            (loss.total / counted).backward()
            nats.append(loss.nats.detach())
        return torch.stack(nats).double().sum()

    @torch.no_grad()
    def token_losses(self, ids: Tensor, labels: Tensor) -> Tensor:
        """-ln p(label) of each position in nats, fp32 (rows, tokens), 0 where it is IGNORE.

        ids, labels (rows, tokens) int64 on the mesh's device; they may differ between data ranks,
        but all processes must call as often. On stages before the last all are 0. Call
        `done_scoring` before the next step.
        """
        tokens = ids.shape[1]
        # Tensor ranks that split the sequence must each have as much of it.
        over = -tokens % self.config.split_norms
        ids = F.pad(ids, (0, over))
        labels = F.pad(labels, (0, over), value=IGNORE)
        with self.model.evaluating():
            if self._pipeline is not None:
                losses = self._pipeline.token_losses(ids, labels)
            else:
                losses = self.model.head.token_losses(self.model(ids), labels)
        return losses[:, :tokens]

    def done_scoring(self) -> None:
        """Split again what scoring has left whole."""
        split_again(self.model)
