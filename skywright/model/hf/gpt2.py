"""GPT2LMHeadModel's folder.

Its linear layers are written input first (transposed), and queries, keys and values as one matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skywright.errors import UserError
from skywright.model.config import ModelConfig

NEEDED = ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")
"""Fields of config.json that have no default."""

_OUTSIDE = {
    "embed_tokens.weight": "transformer.wte.weight",
    "embed_positions.weight": "transformer.wpe.weight",
    "norm.weight": "transformer.ln_f.weight",
    "norm.bias": "transformer.ln_f.bias",
    "head.weight": "lm_head.weight",
}
_INSIDE = {
    "input_layernorm": "ln_1",
    "self_attn.o_proj": "attn.c_proj",
    "post_attention_layernorm": "ln_2",
    "mlp.up_proj": "mlp.c_fc",
    "mlp.down_proj": "mlp.c_proj",
}
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_JOINED = "attn.c_attn"


def canonical(name: str) -> str | None:
    """A tensor's name as we write it; None for a buffer that older files hold beside weights."""
    if re.search(r"\.attn\.(masked_)?bias$", name):
        return None
    if name.startswith(("transformer.", "lm_head.")):
        return name
    return f"transformer.{name}"  # as the first released GPT-2 files have it


def to_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors by their names and in their layout."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in _OUTSIDE:
            out[_OUTSIDE[name]] = tensor
            continue
        prefix, part, kind = _split(name, "layers.")
        if part in _INSIDE:
            out[f"transformer.h.{prefix}.{_INSIDE[part]}.{kind}"] = _turned(tensor)
        elif part == _QKV[0]:  # its two companions come along
            joined = torch.cat([tensors[f"layers.{prefix}.{one}.{kind}"] for one in _QKV])
            out[f"transformer.h.{prefix}.{_JOINED}.{kind}"] = _turned(joined)
    return out


def from_hf(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Their tensors, any number of them, by our names and in our layout."""
    outside = {theirs: ours for ours, theirs in _OUTSIDE.items()}
    inside = {theirs: ours for ours, theirs in _INSIDE.items()}
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in outside:
            out[outside[name]] = tensor
            continue
        prefix, part, kind = _split(name, "transformer.h.")
        if part == _JOINED:
            for one, piece in zip(_QKV, _turned(tensor).split(config.hidden), strict=True):
                out[f"layers.{prefix}.{one}.{kind}"] = piece
        else:
            out[f"layers.{prefix}.{inside[part]}.{kind}"] = _turned(tensor)
    return out


def _split(name: str, before: str) -> tuple[str, str, str]:
    """`layers.3.mlp.up_proj.weight` -> ("3", "mlp.up_proj", "weight")."""
    number, _, rest = name.removeprefix(before).partition(".")
    part, _, kind = rest.rpartition(".")
    return number, part, kind


def _turned(tensor: Tensor) -> Tensor:
    return tensor if tensor.ndim == 1 else tensor.T


def write_config(config: ModelConfig) -> dict[str, Any]:
    """What config.json says of the model's shape."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.context_tokens,
        "n_embd": config.hidden,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.ffn_hidden,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": config.norm_eps,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": 0.0,
        "scale_attn_weights": True,
    }


def read_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    """The shape that config.json gives. Raises UserError for what this decoder lacks."""
    for key, allowed in (
        ("activation_function", ("gelu_new", "gelu_pytorch_tanh")),
        ("scale_attn_weights", (True,)),
        ("scale_attn_by_inverse_layer_idx", (False,)),
        ("add_cross_attention", (False,)),
    ):
        if raw.get(key, allowed[0]) not in allowed:
            raise UserError(f"{where}, {key}: {raw[key]!r} is not supported, only {allowed[0]!r}")
    return ModelConfig(
        architecture="gpt",
        vocab_size=raw["vocab_size"],
        hidden=raw["n_embd"],
        layers=raw["n_layer"],
        heads=raw["n_head"],
        ffn_hidden=raw.get("n_inner") or 4 * raw["n_embd"],
        context_tokens=raw["n_positions"],
        norm_eps=raw.get("layer_norm_epsilon", 1e-5),
        dropout=raw.get("resid_pdrop", 0.1),
        tie_embeddings=raw.get("tie_word_embeddings", True),
    )
