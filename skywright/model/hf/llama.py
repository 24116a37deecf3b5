"""LlamaForCausalLM's folder; with QK-norm Qwen3ForCausalLM's, the same decoder with those norms.

Our parameter names are theirs, and so is the layout of rotary pairs: nothing is permuted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skywright.errors import UserError
from skywright.model.config import (
    ROPE_THETA,
    LinearScaling,
    Llama3Scaling,
    ModelConfig,
    RopeScaling,
)

NEEDED = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "max_position_embeddings", "rms_norm_eps",
)  # fmt: skip
"""Fields of config.json that have no default."""


def canonical(name: str) -> str | None:
    """A tensor's name as we write it; None for a buffer that older files hold beside weights."""
    return None if name.endswith("rotary_emb.inv_freq") else name


def to_hf(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors by their names."""
    return {
        "lm_head.weight" if name == "head.weight" else f"model.{name}": tensor
        for name, tensor in tensors.items()
    }


def from_hf(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Their tensors, any number of them, by our names."""
    return {
        "head.weight" if name == "lm_head.weight" else name.removeprefix("model."): tensor
        for name, tensor in tensors.items()
    }


def write_config(config: ModelConfig) -> dict[str, Any]:
    """What config.json says of the model's shape."""
    rope = _write_rope(config)
    # Readers before transformers 5 know rope_theta and rope_scaling, later ones rope_parameters.
    older = {} if config.rope_scaling is None else {"rope_scaling": rope}
    only_qwen = {"use_sliding_window": False} if config.qk_norm else {}
    return {
        "architectures": ["Qwen3ForCausalLM" if config.qk_norm else "LlamaForCausalLM"],
        "model_type": "qwen3" if config.qk_norm else "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn_hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_size,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope_theta,
        "rope_parameters": rope,
        **older,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        **only_qwen,
    }


def read_config(raw: Mapping[str, Any], where: str) -> ModelConfig:
    """The shape that config.json gives. Raises UserError for what this decoder lacks."""
    for key, wanted in (
        ("hidden_act", "silu"),
        ("attention_bias", False),
        ("mlp_bias", False),
        ("use_sliding_window", False),
    ):
        if raw.get(key, wanted) != wanted:
            raise UserError(f"{where}, {key}: {raw[key]!r} is not supported, only {wanted!r}")
    # One folder may hold both; the older field then repeats the newer.
    rope = {**(raw.get("rope_scaling") or {}), **(raw.get("rope_parameters") or {})}
    return ModelConfig(
        vocab_size=raw["vocab_size"],
        hidden=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        kv_heads=raw.get("num_key_value_heads"),
        head_dim=raw.get("head_dim"),
        ffn_hidden=raw["intermediate_size"],
        context_tokens=raw["max_position_embeddings"],
        rope_theta=rope.get("rope_theta", raw.get("rope_theta", ROPE_THETA)),
        rope_scaling=_read_scaling(rope, raw["max_position_embeddings"], where),
        norm_eps=raw["rms_norm_eps"],
        qk_norm=raw["model_type"] == "qwen3",
        tie_embeddings=raw.get("tie_word_embeddings", False),
    )


def _write_rope(config: ModelConfig) -> dict[str, Any]:
    base = {"rope_theta": config.rope_theta}
    match config.rope_scaling:
        case LinearScaling() as scaling:
            return {"rope_type": "linear", "factor": scaling.factor, **base}
        case Llama3Scaling() as scaling:
            return {
                "rope_type": "llama3",
                "factor": scaling.factor,
                "low_freq_factor": scaling.low_freq_factor,
                "high_freq_factor": scaling.high_freq_factor,
                "original_max_position_embeddings": scaling.original_context_tokens,
                **base,
            }
    return {"rope_type": "default", **base}


def _read_scaling(rope: Mapping[str, Any], context: int, where: str) -> RopeScaling | None:
    kind = rope.get("rope_type", rope.get("type", "default"))
    try:
        if kind == "linear":
            return LinearScaling(kind="linear", factor=rope["factor"])
        if kind == "llama3":
            return Llama3Scaling(
                kind="llama3",
                factor=rope["factor"],
                low_freq_factor=rope["low_freq_factor"],
                high_freq_factor=rope["high_freq_factor"],
                original_context_tokens=rope.get("original_max_position_embeddings", context),
            )
    except KeyError as error:
        raise UserError(f"{where}, rope_parameters: {error} missing; copy it again") from None
    if kind != "default":
        raise UserError(
            f"{where}, rope type: {kind!r} is not supported, only 'default', 'linear', 'llama3'"
        )
    return None
