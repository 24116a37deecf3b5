"""Blocked attention for scoring computes what torch's kernel computes."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.evaluate.backends.attention import (
    BLOCK_ROWS,
    LONG_TOKENS,
    NAME,
    blocked_attention,
    causal_attention,
    use_blocked_attention,
)
from tests.evaluate.tiny import SHAPE


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 2 * BLOCK_ROWS + 3) | st.integers(LONG_TOKENS, LONG_TOKENS + 200),
    kv_heads=st.integers(1, 3),
    group=st.integers(1, 3),
    value_size=st.sampled_from([4, 6]),
)
def test_blocks_give_causal_attention(batch, tokens, kv_heads, group, value_size):
    torch.manual_seed(tokens)
    q = torch.randn(batch, tokens, kv_heads * group, 4).double().transpose(1, 2)
    k, v = (
        torch.randn(batch, kv_heads, tokens, size, dtype=torch.float64) for size in (4, value_size)
    )
    found = blocked_attention(q, k, v, 0.3)
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(found, wanted.transpose(1, 2))


@pytest.mark.parametrize(
    ("config", "model"),
    [
        (transformers.LlamaConfig(**SHAPE), transformers.LlamaForCausalLM),
        # Windows that bite (the mask is torch's business then) and one that does not.
        (transformers.MistralConfig(**SHAPE, sliding_window=16), transformers.MistralForCausalLM),
        (transformers.MistralConfig(**SHAPE, sliding_window=999), transformers.MistralForCausalLM),
    ],
)
def test_a_model_gives_the_same_within_bf16(config, model):
    torch.manual_seed(0)
    made = model(config).to(torch.bfloat16).eval()
    ids = torch.randint(64, (2, 200))
    with torch.no_grad():
        wanted = made(ids).logits.float()
        use_blocked_attention(made)
        found = made(ids).logits.float()
    assert made.config._attn_implementation == NAME
    assert (found - wanted).abs().max() < 2e-2 * wanted.abs().max()


def test_what_is_not_faster_by_blocks_goes_to_torchs_kernel():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, heads, 5, 8, dtype=torch.float64) for heads in (4, 2, 2))
    found = causal_attention(q, k, v, 0.3)
    wanted = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=0.3, enable_gqa=True)
    assert torch.equal(found, wanted.transpose(1, 2))
