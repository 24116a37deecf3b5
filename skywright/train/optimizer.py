"""AdamW or Muon over fp32 master weights, whatever the model multiplies in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from skywright.config import Config
from skywright.errors import UserError
from skywright.parallel.gradients import gradient_norm, like, local

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Config):
    """The optimizer's constants; AdamW's are LLaMA's (Touvron et al. 2023, section 2.3).

    `muon` is for one process: it takes the matrices of the layers, and AdamW the rest (tables of
    tokens, the head, norms). Its steps are scaled to AdamW's size, so `peak_lr` and `weight_decay`
    mean what they mean there (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    """

    kind: Literal["adamw", "muon"] = "adamw"
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0, description="on matrices, not on norms")
    decay_embeddings: bool = Field(
        default=True, description="whether tables of embeddings decay too, as LLaMA's do"
    )
    clip: float = Field(default=1.0, gt=0, description="largest norm of the whole gradient")
    momentum: Beta = Field(default=0.95, description="muon's (Jordan et al. 2024)")


def check_layout(config: OptimizerConfig, degrees: Mapping[str, int]) -> None:
    """Raise UserError if the optimizer is not proven to act on this layout as on one process.

    `degrees` names each kind of parallelism and over how many processes it goes, as
    {"shard": 2, "pipeline": 1}. AdamW works element by element, so any split of a tensor gives the
    same update. Muon orthogonalises whole matrices: on a shard it would do something else.
    """
    split = {name: degree for name, degree in degrees.items() if degree > 1}
    if config.kind == "muon" and split:
        raise UserError(
            f"train.optimizer.kind: muon, on a layout of "
            f"{', '.join(f'{name} {degree}' for name, degree in split.items())}: it needs whole "
            "matrices and is proven on one process alone; use adamw, or one process"
        )


def _is_embedding(name: str) -> bool:
    return name.startswith("embed")


def _is_hidden_matrix(name: str, weight: Tensor) -> bool:
    return weight.ndim == 2 and not _is_embedding(name) and not name.startswith("head.")


_STATE_GROUPS = {
    "exp_avg": "exp_avg",
    "exp_avg_sq": "exp_avg_sq",
    "step": "steps",
    "momentum_buffer": "momentum",
}
"""An optimizer's own name for a part of its state -> the checkpoint's name for it."""


class MasterOptimizer:
    """AdamW (Loshchilov and Hutter 2019), or Muon and AdamW, on an fp32 copy of a model's weights.

    Gradients are summed in fp32 over micro-batches. A model in fp32 shares its memory with the
    masters; a model in bf16 gets them rounded after each step. Weights of two or more dimensions
    decay, norms do not.

    Of a model that is spread over processes each holds and updates its own part; its parameters
    are the masters, and `mesh` must be given for the norm over all parts.
    """

    def __init__(
        self, model: nn.Module, config: OptimizerConfig, mesh: DeviceMesh | None = None
    ) -> None:
        self._config, self._mesh = config, mesh
        self._parameters = dict(model.named_parameters())
        self.weights: dict[str, Tensor] = {
            name: local(parameter.detach()).float() for name, parameter in self._parameters.items()
        }
        self._masters = {name: nn.Parameter(weight) for name, weight in self.weights.items()}
        hidden = {
            name
            for name, weight in self.weights.items()
            if config.kind == "muon" and _is_hidden_matrix(name, weight)
        }
        self._optimizers: list[torch.optim.Optimizer] = [self._adamw(self.weights.keys() - hidden)]
        if hidden:
            self._optimizers.append(self._muon(hidden))

    def _adamw(self, names: set[str]) -> torch.optim.Optimizer:
        masters = {name: m for name, m in self._masters.items() if name in names}
        decaying = {
            name: m.ndim >= 2 and (self._config.decay_embeddings or not _is_embedding(name))
            for name, m in masters.items()
        }
        adamw = torch.optim.AdamW(
            [
                {
                    "params": [m for name, m in masters.items() if decaying[name] == decays],
                    "weight_decay": self._config.weight_decay if decays else 0.0,
                }
                for decays in (True, False)
            ],
            lr=0.0,
            betas=self._config.betas,
            eps=self._config.eps,
            fused=True,
        )
        # Made now rather than at the first step, so that a checkpoint can be read into it.
        for master in masters.values():
            adamw.state[master] = {
                "step": torch.zeros((), device=master.device),  # where the fused kernel wants it
                "exp_avg": torch.zeros_like(master),
                "exp_avg_sq": torch.zeros_like(master),
            }
        return adamw

    def _muon(self, names: set[str]) -> torch.optim.Optimizer:
        masters = [m for name, m in self._masters.items() if name in names]
        muon = torch.optim.Muon(
            masters,
            lr=0.0,
            weight_decay=self._config.weight_decay,
            momentum=self._config.momentum,
            adjust_lr_fn="match_rms_adamw",
        )
        for master in masters:
            muon.state[master] = {"momentum_buffer": torch.zeros_like(master)}
        return muon

    def accumulate(self) -> None:
        """Add the model's gradients to the fp32 ones and clear them."""
        for name, parameter in self._parameters.items():
            if parameter.grad is None:
                continue
            gradient, master = local(parameter.grad), self._masters[name]
            if master.grad is None:
                master.grad = gradient.float()
            else:
                master.grad += gradient
            parameter.grad = None

    def gradient_norm(self) -> float:
        """Norm of the whole accumulated gradient; infinite or NaN if any part of it is.

        With a mesh, all processes must ask, and all get the same number.
        """
        if self._mesh is not None:
            pairs = ((self._parameters[name], m.grad) for name, m in self._masters.items())
            return gradient_norm(((p, g) for p, g in pairs if g is not None), self._mesh)
        gradients = [m.grad for m in self._masters.values() if m.grad is not None]
        return torch.nn.utils.get_total_norm(gradients).item()

    def update(self, lr: float, norm: float) -> None:
        """Clip the gradient of this norm, step the weights, publish them, clear the gradient."""
        masters = self._masters.values()
        torch.nn.utils.clip_grads_with_norm_(masters, self._config.clip, torch.tensor(norm))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        self.publish()
        self.discard()

    def discard(self) -> None:
        """Clear the accumulated gradient; weights and state stay as they are."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the model, rounded to its dtype."""
        for name, parameter in self._parameters.items():
            mine = local(parameter)
            if mine.data_ptr() != self.weights[name].data_ptr():
                mine.copy_(self.weights[name])

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint must hold, by group and parameter name; filled in place on load.

        Parts are given as tensors spread like their parameter, so that they can be read into
        another layout. After a load from outside call `publish`.
        """
        whole = self._parameters
        tensors: dict[str, dict[str, Tensor]] = {
            "weights": {name: like(weight, whole[name]) for name, weight in self.weights.items()}
        }
        for optimizer in self._optimizers:
            for name, master in self._masters.items():
                state: dict[str, Any] = optimizer.state.get(master, {})
                for own, group in _STATE_GROUPS.items():
                    if own in state:
                        part = state[own]
                        spread = like(part, whole[name]) if part.ndim else part
                        tensors.setdefault(group, {})[name] = spread
        return tensors
