"""Pipeline parallelism: a decoder cut into stages of layers, run by torch's schedules.

The embeddings stand on the first stage; the last norm and the head on the last, where the
schedule's loss calls head(hidden, labels). A stage's parameters keep the names that they have in
the whole model, so the stages' checkpoints are parts of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe
from torch.distributed.pipelining.schedules import PipelineScheduleSingle

from skywright.model.decoder import Decoder
from skywright.model.head import Loss
from skywright.parallel.config import ParallelConfig, layers_of_stages

_SCHEDULES: dict[str, type[PipelineScheduleSingle]] = {
    "1f1b": Schedule1F1B,  # Narayanan et al. 2019
    "gpipe": ScheduleGPipe,  # Huang et al. 2019
}


class Stage(Decoder):
    """A run of a decoder's layers, with what stands before the first and behind the last."""

    def __init__(self, whole: Decoder, layers: Sequence[int], sequence_parts: int = 1) -> None:
        """Takes its parts out of `whole`; the others are left to be freed.

        `sequence_parts`: into how many parts tensor ranks split hidden states between stages.
        """
        nn.Module.__init__(self)
        self.config, self.dropout = whole.config, whole.dropout
        self.recompute = whole.recompute
        self.is_first = layers[0] == 0
        self.is_last = layers[-1] == whole.config.layers - 1
        self._sequence_parts = sequence_parts
        if self.is_first:
            self.embed_tokens, self.embed_positions = whole.embed_tokens, whole.embed_positions
        # Keyed by their numbers in the whole model.
        kept = nn.ModuleDict({str(number): whole.layers[number] for number in layers})
        self.layers = cast(nn.ModuleList, kept)
        if self.is_last:
            self.norm, self.head = whole.norm, whole.head

    def forward(  # type: ignore[override]  # no cache: a stage alone generates nothing
        self, x: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        """x: on the first stage ids (batch, tokens), on others what the stage before gave.

        Returns hidden states, on the last stage after the last norm. `positions` is as the whole
        model's, and comes to every stage.
        """
        tokens = x.shape[1] * (1 if self.is_first else self._sequence_parts)
        documents = None
        if positions is None:
            positions = torch.arange(tokens, device=x.device)
        else:
            documents = (positions == 0).cumsum(1)
        if self.is_first:
            x = self.embed(x, positions)
        places = self.places(positions, documents, x.dtype)
        x = self.through_layers(x, places)
        return self.norm(x) if self.is_last else x


def apply_pipeline(model: Decoder, mesh: DeviceMesh, config: ParallelConfig) -> Decoder:
    """This process's stage of `model`, which gives it its parts; `model` where there is but one.

    The first of the three to be applied: what another stage has need not be cut.
    """
    if config.pipeline == 1:
        return model
    layers = layers_of_stages(model.config.layers, config.pipeline)
    return Stage(model, layers[mesh.get_local_rank("pipeline")], config.split_norms)


class Pipeline:
    """Runs a step's micro-batches through the stages by the schedule of the configuration."""

    def __init__(
        self, stage: Stage, mesh: DeviceMesh, config: ParallelConfig, dtype: torch.dtype
    ) -> None:
        """`dtype`: of the hidden states that stages send."""
        self._stage, self._mesh, self._config, self._dtype = stage, mesh, config, dtype
        self._schedules: dict[tuple[int, int, int], PipelineScheduleSingle] = {}
        self._nats: list[Tensor] = []

    def forward_backward(
        self,
        inputs: Tensor,
        labels: Tensor,
        positions: Tensor | None,
        micro_batch_rows: int,
        counted: int,
    ) -> Tensor:
        """Accumulate the gradient of the loss over `counted`; on the last stage its sum in nats.

        All stages are given the same rows: inputs, labels and positions (rows, tokens), whose
        number is a multiple of `micro_batch_rows`. Elsewhere the sum is 0.
        """
        rows, tokens = inputs.shape
        schedule = self._schedule(micro_batch_rows, tokens, rows // micro_batch_rows)
        self._nats.clear()
        given: dict[str, Any] = {} if positions is None else {"positions": positions}
        schedule.step(
            *([inputs] if self._stage.is_first else []),
            target=labels if self._stage.is_last else None,
            return_outputs=False,
            loss_kwargs={"counted": counted},
            **given,
        )
        return torch.stack(self._nats).double().sum() if self._nats else torch.zeros(())

    def token_losses(self, ids: Tensor, labels: Tensor) -> Tensor:
        """As the head's, (rows, tokens), on the last stage; zeros on the others.

        Hidden states go from stage to stage; a stage is free for other rows once it has sent them.
        """
        place, stages = self._mesh.get_local_rank("pipeline"), self._config.pipeline
        ranks = dist.get_process_group_ranks(group := self._mesh.get_group("pipeline"))
        x = ids
        if not self._stage.is_first:
            rows, tokens = ids.shape
            x = torch.empty(
                rows, tokens // self._config.split_norms, self._stage.config.hidden,
                dtype=self._dtype, device=ids.device,
            )  # fmt: skip
            dist.recv(x, ranks[place - 1], group)
        x = self._stage(x)
        if place < stages - 1:
            dist.send(x.contiguous(), ranks[place + 1], group)
            return torch.zeros(labels.shape, device=ids.device)
        return self._stage.head.token_losses(x, labels)

    def _loss(self, hidden: Tensor, labels: Tensor, counted: int) -> Tensor:
        loss: Loss = self._stage.head(hidden, labels)
        self._nats.append(loss.nats.detach())
        return loss.total / counted

    def _schedule(self, rows: int, tokens: int, micro_batches: int) -> PipelineScheduleSingle:
        """Schedules keep buffers of one shape: there is one for each shape met."""
        key = rows, tokens, micro_batches
        if key not in self._schedules:
            device = torch.device(self._mesh.device_type)
            ids = torch.empty(rows, tokens, dtype=torch.long, device="meta")
            hidden = torch.empty(
                rows, tokens // self._config.split_norms, self._stage.config.hidden,
                dtype=self._dtype, device="meta", requires_grad=True,
            )  # fmt: skip
            # With the shapes given, no trial pass is run to find them.
            stage = PipelineStage(
                self._stage,
                self._mesh.get_local_rank("pipeline"),
                self._config.pipeline,
                device,
                input_args=ids if self._stage.is_first else hidden,
                output_args=hidden,
                group=self._mesh.get_group("pipeline"),
            )
            self._schedules[key] = _SCHEDULES[self._config.schedule](
                stage, micro_batches, loss_fn=self._loss, scale_grads=False
            )
        return self._schedules[key]
