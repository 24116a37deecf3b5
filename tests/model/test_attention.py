import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skywright.model.attention import (
    BLOCK_ROWS,
    BLOCKED_CONTEXT_TOKENS,
    blocked_attention,
    causal_attention,
)


def draw(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def by_definition(q, k, v, documents=None):
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1 + k.shape[2] - q.shape[2])
    scores = scores.masked_fill(ahead, float("-inf"))
    if documents is not None:
        other = documents[:, :, None] != documents[:, None, :]
        scores = scores.masked_fill(other[:, None], float("-inf"))
    return scores.softmax(-1) @ v


@pytest.mark.parametrize("kernel", ["blocked", "sdpa"])
@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 3 * BLOCK_ROWS),
    group=st.sampled_from([1, 2]),
    cuts=st.none() | st.lists(st.integers(0, 3 * BLOCK_ROWS), max_size=4),
    seed=st.integers(0, 2**31),
)
def test_attention_and_its_gradients_equal_the_definition(kernel, tokens, group, cuts, seed):
    q = draw(seed, 2, 4, tokens, 8)
    k, v = (draw(seed + i, 2, 4 // group, tokens, 8) for i in (1, 2))
    documents = None
    if cuts is not None:  # each cut begins a document; the second row has one document
        begins = torch.zeros(2, tokens, dtype=torch.int64)
        begins[0, [cut for cut in cuts if cut < tokens]] = 1
        documents = begins.cumsum(1)
    out = causal_attention(q, k, v, documents, kernel)
    expected = by_definition(q, k, v, documents)
    torch.testing.assert_close(out, expected)
    weights = draw(seed + 3, *out.shape).detach()
    got = torch.autograd.grad((out * weights).sum(), (q, k, v))
    want = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("new", [1, 5])
def test_fewer_queries_than_keys_are_the_last_positions(new):
    q, k, v = draw(0, 2, 4, 20, 8), draw(1, 2, 2, 20, 8), draw(2, 2, 2, 20, 8)
    whole = causal_attention(q, k, v)
    torch.testing.assert_close(causal_attention(q[:, :, -new:], k, v), whole[:, :, -new:])


def test_long_sequences_give_the_same_attention_as_short_ones_do():
    q = torch.randn(1, 1, BLOCKED_CONTEXT_TOKENS + 1, 4)
    long = causal_attention(q, q, q)[:, :, :-1]
    torch.testing.assert_close(long, causal_attention(*(q[:, :, :-1],) * 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("documents", [None, torch.tensor([[0] * 30 + [1] * 40] * 2)])
def test_the_operator_keeps_the_rules_that_compilation_relies_on(documents):
    q, k, v = (torch.randn(2, 2, 70, 8, requires_grad=True) for _ in range(3))
    torch.library.opcheck(blocked_attention, (q, k, v, documents))


def test_the_operator_keeps_them_for_one_row_whose_heads_are_strided():
    q, k, v = (torch.randn(1, 70, 2, 8, requires_grad=True).transpose(1, 2) for _ in range(3))
    torch.library.opcheck(blocked_attention, (q, k, v, None))
