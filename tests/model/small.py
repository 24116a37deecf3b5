"""Shapes of every kind, small enough to check number by number."""

import torch

from skywright.model.config import LinearScaling, Llama3Scaling, ModelConfig
from skywright.model.decoder import Decoder

LLAMA = ModelConfig(
    vocab_size=101, hidden=32, layers=2, heads=4, kv_heads=2, ffn_hidden=48, context_tokens=96
)
GPT = ModelConfig(
    architecture="gpt", vocab_size=101, hidden=32, layers=2, heads=4, ffn_hidden=128,
    context_tokens=96,
)  # fmt: skip
SHAPES = {
    "llama": LLAMA,
    "llama, tied": LLAMA.model_copy(update={"tie_embeddings": True}),
    "llama, QK-norm": LLAMA.model_copy(update={"qk_norm": True}),
    "llama, wide heads, linear scaling": LLAMA.model_copy(
        update={"head_dim": 16, "rope_scaling": LinearScaling(kind="linear", factor=4.0)}
    ),
    "llama, llama3 scaling": LLAMA.model_copy(
        update={
            "rope_theta": 500_000.0,
            "norm_eps": 1e-6,
            # As if trained at 32 tokens, so that slow, mixed and plain pairs all occur.
            "rope_scaling": Llama3Scaling(kind="llama3", original_context_tokens=32),
        }
    ),
    "gpt": GPT,
    "gpt, tied": GPT.model_copy(update={"tie_embeddings": True}),
}


def decoder(config: ModelConfig = LLAMA, seed: int = 0, **kwargs) -> Decoder:
    """A model with larger weights and moved norms and biases, so that a mistake shows."""
    made = Decoder(config, **kwargs)
    made.initialise(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(1.5).add_(0.2 * noise if parameter.ndim == 1 else 0.0)
    return made


def draw_ids(batch: int, tokens: int, config: ModelConfig = LLAMA, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, config.vocab_size, (batch, tokens), generator=generator)
