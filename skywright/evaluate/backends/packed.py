"""Linear layers of a transformers model as oneDNN likes them, on a processor.

A plain product reorders the weights, or reads them in an order that is not the kernel's, every
time; here they are laid out once. Measured on one core with AVX512, 576 x 1,536 and 1,536 x 576
weights, 130 to 2,048 rows: 91 to 101 GFLOP/s become 106 to 116 in fp32, 200 to 223 become 214 to
229 in bf16. Gated layers also get their activation and their product inside the two products, where
they cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_SILU = ("SiLU", "SiLUActivation")
_GATED = ("gate_proj", "up_proj", "down_proj")

ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-6}
"""Share of a layer's norm that another order of roundings may move (bf16 keeps 8 bits)."""


def can_pack(tensor: Tensor) -> bool:
    """Whether oneDNN has its own layout for weights of this dtype on this machine."""
    if tensor.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if tensor.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return tensor.dtype == torch.float32


def packed_weight(weight: Tensor) -> Tensor:
    """A weight (outputs, inputs) in oneDNN's layout; `to_dense()` gives it back as it was."""
    found: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())
    return found


def packed_product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """activation(x @ weight.T + bias) for a packed weight; activation "none" or "swish" (SiLU)."""
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, activation, [], "")
    return found


class PackedLinear(nn.Module):
    """What `nn.Linear` computes, from a packed weight; no gradients."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = packed_weight(linear.weight)
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        """x (..., inputs) -> (..., outputs)."""
        return packed_product(x, self.weight, self.bias, activation)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """The layer's output times `other`, (..., outputs), element by element."""
        return self._with(x, other, "mul")

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The layer's output plus `other`, (..., outputs)."""
        return self._with(x, other, "add")

    def _with(self, x: Tensor, other: Tensor, operation: str) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            x, other, self.weight, self.bias, operation
        )
        return found

    def unpacked(self) -> nn.Linear:
        """The layer it was made from."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, "meta")
        linear.weight = nn.Parameter(self.weight.to_dense(), requires_grad=False)
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias, requires_grad=False)
        return linear


class GatedPacked(nn.Module):
    """down(silu(gate(x)) * up(x)) of three packed layers."""

    def __init__(self, gated: nn.Module) -> None:
        super().__init__()
        self.gated: Any = gated

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., width)."""
        out: Tensor = self.gated.down_proj(self._inner(x))
        return out

    def plus(self, x: Tensor, other: Tensor) -> Tensor:
        """The layer's output plus `other`, (..., width)."""
        out: Tensor = self.gated.down_proj.plus(self._inner(x), other)
        return out

    def _inner(self, x: Tensor) -> Tensor:
        inner: Tensor = self.gated.up_proj.times(x, self.gated.gate_proj(x, "swish"))
        return inner


@torch.no_grad()
def pack(model: nn.Module, probe: Callable[[], object]) -> bool:
    """Pack a model's linear layers, and say whether it was done.

    probe: reads a short text with the model. One that cannot do without plain layers fails here
    and is left as it was.
    """
    if not can_pack(next(model.parameters())):
        return False
    _replace(model, lambda m: PackedLinear(m) if type(m) is nn.Linear else None)
    _replace(model, lambda m: GatedPacked(m) if _is_gated(m) else None)
    try:
        probe()
    except (RuntimeError, TypeError, AttributeError):
        _replace(model, lambda m: m.gated if isinstance(m, GatedPacked) else None)
        _replace(model, lambda m: m.unpacked() if isinstance(m, PackedLinear) else None)
        return False
    return True


def _is_gated(module: nn.Module) -> bool:
    """Whether it has a gated layer's parts and computes what `GatedPacked` does with them."""
    layers = [getattr(module, name, None) for name in _GATED]
    if type(getattr(module, "act_fn", None)).__name__ not in _SILU:
        return False
    if not all(isinstance(layer, PackedLinear) for layer in layers):
        return False
    up: Any = layers[0]
    rows = torch.randn(4, up.in_features, generator=torch.Generator().manual_seed(0))
    x = rows.to(up.weight.dtype)
    plain, packed = module(x), GatedPacked(module)(x)
    return float((packed - plain).norm()) <= ROUNDING[x.dtype] * float(plain.norm())


def _replace(module: nn.Module, new: Callable[[Any], nn.Module | None]) -> None:
    """Put what `new` makes of a submodule in its place; None leaves it, and goes on inside."""
    for name, child in list(module.named_children()):
        made = new(child)
        if made is None:
            _replace(child, new)
        else:
            setattr(module, name, made)
