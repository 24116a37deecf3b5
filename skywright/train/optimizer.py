"""AdamW over fp32 master weights, whatever the model multiplies in."""

from __future__ import annotations

import hashlib
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from skywright.config import Config

Beta = Annotated[float, Field(ge=0, lt=1)]


class OptimizerConfig(Config):
    """AdamW's constants; the defaults are LLaMA's (Touvron et al. 2023, section 2.3)."""

    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0, description="on matrices, not on norms")
    clip: float = Field(default=1.0, gt=0, description="largest norm of the whole gradient")


class MasterAdamW:
    """AdamW (Loshchilov and Hutter 2019) on an fp32 copy of a model's weights.

    Gradients are summed in fp32 over micro-batches. A model in fp32 shares its memory with the
    masters; a model in bf16 gets them rounded after each step. Weights of two or more dimensions
    decay, norms do not.
    """

    def __init__(self, model: nn.Module, config: OptimizerConfig) -> None:
        self._config = config
        self._parameters = dict(model.named_parameters())
        self.weights: dict[str, Tensor] = {
            name: parameter.detach().float() for name, parameter in self._parameters.items()
        }
        self._masters = {name: nn.Parameter(weight) for name, weight in self.weights.items()}
        self._adamw = torch.optim.AdamW(
            [
                {
                    "params": [m for m in self._masters.values() if (m.ndim >= 2) == decays],
                    "weight_decay": config.weight_decay if decays else 0.0,
                }
                for decays in (True, False)
            ],
            lr=0.0,
            betas=config.betas,
            eps=config.eps,
            fused=True,
        )
        for master in self._masters.values():
            self._adamw.state[master] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(master),
                "exp_avg_sq": torch.zeros_like(master),
            }

    def accumulate(self) -> None:
        """Add the model's gradients to the fp32 ones and clear them."""
        for name, parameter in self._parameters.items():
            gradient, master = parameter.grad, self._masters[name]
            if gradient is None:
                continue
            if master.grad is None:
                master.grad = gradient.float()
            else:
                master.grad += gradient
            parameter.grad = None

    def step(self, lr: float) -> float:
        """Clip, update and clear; return the norm of the whole gradient before clipping.

        If the norm is not finite nothing is updated: the caller decides.
        """
        norm = torch.nn.utils.clip_grad_norm_(self._masters.values(), self._config.clip).item()
        if norm - norm == 0.0:  # false for infinities and NaN
            for group in self._adamw.param_groups:
                group["lr"] = lr
            self._adamw.step()
            self.publish()
        self._adamw.zero_grad()
        return norm

    @torch.no_grad()
    def publish(self) -> None:
        """Copy the masters into the model, rounded to its dtype."""
        for name, parameter in self._parameters.items():
            if parameter.data_ptr() != self.weights[name].data_ptr():
                parameter.copy_(self.weights[name])

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All that a checkpoint must hold, by group and parameter name; filled in place on load.

        After a load from outside call `publish`.
        """
        groups = ("exp_avg", "exp_avg_sq")
        tensors = {"weights": self.weights}
        for group in groups:
            tensors[group] = {
                name: self._adamw.state[master][group] for name, master in self._masters.items()
            }
        tensors["steps"] = {
            name: self._adamw.state[master]["step"] for name, master in self._masters.items()
        }
        return tensors

    def weights_sha256(self) -> str:
        """Hex SHA-256 over the names and fp32 bytes of the masters."""
        digest = hashlib.sha256()
        for name in sorted(self.weights):
            digest.update(name.encode())
            digest.update(self.weights[name].contiguous().numpy().tobytes())
        return digest.hexdigest()
