"""Joined layers compute what the layers they stand for compute, and leave others alone."""

import pytest
import torch
import transformers
from torch import nn

from skywright.evaluate.backends.attention import use_blocked_attention
from skywright.evaluate.backends.layers import JoinedLayer, join
from skywright.evaluate.backends.packed import pack
from tests.evaluate.tiny import PACKABLE, SHAPE

if not PACKABLE:
    pytest.skip("torch has no oneDNN here", allow_module_level=True)


def joined(config, dtype=torch.float32):
    """A random model before and after: what it gives is the caller's to compare."""
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    for norm in (m for m in model.modules() if type(m).__name__.endswith("RMSNorm")):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
    ids = torch.randint(64, (2, 1100))
    with torch.no_grad():
        wanted = model(ids, use_cache=False).logits.float()
        use_blocked_attention(model)
        pack(model.base_model, lambda: model(ids))
        join(model.base_model)
        found = model(ids, use_cache=False).logits.float()
    return model, ids, wanted, found


@pytest.mark.parametrize("dtype", PACKABLE)
@pytest.mark.parametrize(
    ("config", "stands_for"),
    [
        (transformers.LlamaConfig(**SHAPE, mlp_bias=True, attention_bias=True), 2),
        (transformers.LlamaConfig(**SHAPE, head_dim=16), 2),
        (transformers.Qwen2Config(**SHAPE), 2),
        # A window that is shorter than the text: the mask says so, and the layer itself goes on.
        (transformers.MistralConfig(**SHAPE, sliding_window=64), 2),
        (transformers.MistralConfig(**SHAPE, sliding_window=None), 2),
        # Norms of heads; interleaved and partial rotations; other norms, scaled sums.
        (transformers.Qwen3Config(**SHAPE, head_dim=8), 0),
        (transformers.GlmConfig(**SHAPE, head_dim=8, pad_token_id=0), 0),
        (transformers.GraniteConfig(**SHAPE, residual_multiplier=0.5), 0),
        (transformers.GemmaConfig(**SHAPE, head_dim=8), 0),
    ],
)
def test_a_model_gives_the_same(config, stands_for, dtype):
    model, _, wanted, found = joined(config, dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
    assert sum(isinstance(m, JoinedLayer) for m in model.modules()) == stands_for


def test_masks_caches_and_gradients_go_to_the_layer_itself():
    model, ids, wanted, _ = joined(transformers.LlamaConfig(**SHAPE))
    ids, wanted = ids[:, :20], wanted[:, :20]
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    with torch.no_grad():
        masked = model(ids, attention_mask=mask).logits
        first = model(ids[:, :12], use_cache=True)
        rest = model(ids[:, 12:], past_key_values=first.past_key_values).logits
    assert not torch.allclose(masked[1, 5:], wanted[1, 5:], atol=1e-3)
    torch.testing.assert_close(masked[0], wanted[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rest, wanted[:, 12:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-5)
