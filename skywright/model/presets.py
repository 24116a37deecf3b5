"""Models by name: those of the Skywork-13B report, and a ladder of small ones."""

from __future__ import annotations

import difflib

from skywright.errors import UserError
from skywright.model.config import ModelConfig


def _ladder(hidden: int, layers: int, heads: int, ffn_hidden: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=8192,  # a large table would outweigh so small a body
        hidden=hidden,
        layers=layers,
        heads=heads,
        ffn_hidden=ffn_hidden,
        context_tokens=1024,
    )


PRESETS: dict[str, ModelConfig] = {
    # Skywork-13B report (arXiv 2310.19341), its comparison with LLaMA2-13B.
    "skywork-13b": ModelConfig(
        vocab_size=65_536,
        hidden=4608,
        layers=52,
        heads=36,
        ffn_hidden=12_288,
        context_tokens=4096,
    ),
    # The released configuration; the report's table prints ffn 13,696.
    "llama2-13b": ModelConfig(
        vocab_size=32_000,
        hidden=5120,
        layers=40,
        heads=40,
        ffn_hidden=13_824,
        context_tokens=4096,
    ),
    # Touvron et al. 2023, table 2, and the released configuration. The report's ablation trains
    # this body with its own vocabulary of 65,536 and 4,096 tokens.
    "llama-7b": ModelConfig(
        vocab_size=32_000,
        hidden=4096,
        layers=32,
        heads=32,
        ffn_hidden=11_008,
        context_tokens=2048,
        norm_eps=1e-6,
    ),
    # The report's baseline (table 9).
    "gpt-7b": ModelConfig(
        architecture="gpt",
        vocab_size=65_536,
        hidden=4096,
        layers=32,
        heads=32,
        ffn_hidden=16_384,
        context_tokens=4096,
        dropout=0.1,
    ),
    # Named by the body's parameters. Heads of 64, inner width 8/3 hidden, and deep rather than
    # wide: at these sizes depth pays more (MobileLLM, Liu et al. 2024, section 2.2.1, whose 125M
    # has 30 layers of 576).
    "ladder-5m": _ladder(192, 12, 3, 512),
    "ladder-10m": _ladder(256, 13, 4, 688),
    "ladder-25m": _ladder(384, 14, 6, 1024),
    "ladder-50m": _ladder(512, 16, 8, 1376),
    "ladder-100m": _ladder(576, 25, 9, 1536),
    "ladder-200m": _ladder(768, 28, 12, 2048),
}


def preset(name: str) -> ModelConfig:
    """The model of this name. Raises `UserError` naming the nearest known one."""
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(PRESETS)}"
    raise UserError(f"model {name!r}: no such preset; {hint}")
