"""Operations a token under the conventions in use, and the utilisation that each one gives.

The convention moves the figure of one and the same run by several points (Skywork-13B: 52.3 to
57.0 % where the report says 56.5), so no utilisation is printed without its formula and peak.
"""

from __future__ import annotations

from skywright.model.config import ModelConfig
from skywright.model.flops import flops_per_token

CONVENTIONS: dict[str, tuple[str, str]] = {
    "body_and_head": (
        "6 (body + head) + 12 L w T",
        "PaLM and Megatron: products only, attention over the whole sequence",
    ),
    "all_parameters": (
        "6 (body + head + embedding) + 12 L w T",
        "the same, the look-up of the embedding counted as a product",
    ),
    "causal": (
        "6 (body + head) + 6 L w T",
        "products only, attention halved: what a causal kernel must do",
    ),
    "body_only": ("6 body + 12 L w T", "without the head"),
}
"""Name: (formula, meaning). L layers, w = heads x head size, T tokens of a sequence."""


def flops_of(model: ModelConfig, sequence_tokens: int, convention: str) -> float:
    """Operations of one token, forward and backward, under a name of `CONVENTIONS`."""
    if convention == "body_only":
        head = 6.0 * model.vocab_size * model.hidden
        return flops_per_token(model, sequence_tokens, "body_and_head") - head
    return flops_per_token(model, sequence_tokens, convention)  # type: ignore[arg-type]


def utilisation(flops: float, tokens_per_s: float, peak_flops: float) -> float:
    """Share of the peak: operations a token x tokens a second of one device / peak."""
    return flops * tokens_per_s / peak_flops
