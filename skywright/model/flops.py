"""Parameters and floating-point operations of a model, by named conventions."""

from __future__ import annotations

from typing import Literal

from skywright.model.config import ModelConfig

Convention = Literal["body_and_head", "all_parameters", "causal"]
"""How operations are counted. The convention moves a utilisation figure by several points, so a
figure without its name means nothing:

body_and_head   6 (body + head) + 12 layers width tokens: matrix products alone, attention counted
                as if each position saw the whole sequence (PaLM, Chowdhery et al. 2022, app. B)
all_parameters  the same with the input embedding counted as if it were a product
causal          body_and_head with attention halved: what a causal kernel must do
"""


def parameters(config: ModelConfig) -> dict[str, int]:
    """Number of parameters.

    `body` (layers and norms), `embedding`, `positions` (0 with rotary ones), `head` (0 if tied),
    `total`.
    """
    gpt = config.architecture == "gpt"
    hidden, ffn, size = config.hidden, config.ffn_hidden, config.head_size
    width, kv_width = config.heads * size, config.key_value_heads * size
    attention = hidden * (2 * width + 2 * kv_width) + (2 * size if config.qk_norm else 0)
    feed_forward = (2 if gpt else 3) * hidden * ffn
    norm = 2 * hidden if gpt else hidden
    biases = width + 2 * kv_width + hidden + ffn + hidden if gpt else 0
    body = config.layers * (attention + feed_forward + biases + 2 * norm) + norm
    table = config.vocab_size * hidden
    positions = config.context_tokens * hidden if gpt else 0
    head = 0 if config.tie_embeddings else table
    return {
        "body": body,
        "embedding": table,
        "positions": positions,
        "head": head,
        "total": body + table + positions + head,
    }


def flops_per_token(
    config: ModelConfig, sequence_tokens: int, convention: Convention = "body_and_head"
) -> float:
    """Operations of one token's forward and backward pass (a multiply and an add are two).

    6 per weight used in a product (2 forward, 4 backward); 12 * layers * (heads * head_size) *
    sequence_tokens for the two products of attention. A tied head still multiplies.
    """
    count = parameters(config)
    weights = count["body"] + config.vocab_size * config.hidden
    if convention == "all_parameters":
        weights += count["embedding"] + count["positions"]
    attention = 12.0 * config.layers * config.heads * config.head_size * sequence_tokens
    return 6.0 * weights + (attention / 2 if convention == "causal" else attention)
