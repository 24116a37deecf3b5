import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from skywright.model.attention import BLOCK_CONTEXT_TOKENS, BLOCK_ROWS, causal_attention
from skywright.model.config import ModelConfig
from skywright.model.flops import flops_per_token, parameters
from skywright.model.head import CHUNK_ROWS, Head
from skywright.model.llama import Llama
from skywright.model.rotary import rotary_tables, rotate

TINY = ModelConfig(
    vocab_size=101, hidden=32, layers=2, heads=4, kv_heads=2, ffn_hidden=48, context_tokens=96
)
SKYWORK_13B = ModelConfig(
    vocab_size=65_536, hidden=4608, layers=52, heads=36, ffn_hidden=12_288, context_tokens=4096
)


def model(config: ModelConfig = TINY, seed: int = 0) -> Llama:
    made = Llama(config)
    made.initialise(seed)
    return made


@settings(max_examples=25, deadline=None)
@given(
    tokens=st.integers(1, 3 * BLOCK_ROWS),
    group=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**31),
)
def test_block_attention_and_its_gradients_equal_the_definition(tokens, group, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(heads):
        x = torch.randn(2, heads, tokens, 8, generator=generator, dtype=torch.float64)
        return x.requires_grad_()

    q, k, v = draw(4), draw(4 // group), draw(4 // group)
    out = causal_attention(q, k, v)
    keys, values = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = q @ keys.mT / 8**0.5
    ahead = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(ahead, float("-inf")).softmax(-1) @ values
    torch.testing.assert_close(out, expected)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    got = torch.autograd.grad((out * weights).sum(), (q, k, v))
    want = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)


def test_long_sequences_give_the_same_attention_as_short_ones_do():
    q = torch.randn(1, 1, BLOCK_CONTEXT_TOKENS + 1, 4)
    long = causal_attention(q, q, q)[:, :, :-1]
    torch.testing.assert_close(long, causal_attention(*(q[:, :, :-1],) * 3), rtol=1e-4, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 2 * CHUNK_ROWS + 3), seed=st.integers(0, 2**31))
def test_chunked_loss_and_its_gradients_equal_cross_entropy(rows, seed):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(rows, 16, generator=generator, dtype=torch.float64).float()
    labels = torch.randint(0, 50, (rows,), generator=generator)
    head = Head(16, 50)
    torch.nn.init.normal_(head.weight, generator=generator)
    hidden.requires_grad_()
    expected = F.cross_entropy(hidden @ head.weight.T, labels, reduction="sum")
    loss = head(hidden, labels)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    got = torch.autograd.grad(loss / 7, (hidden, head.weight))
    want = torch.autograd.grad(expected / 7, (hidden, head.weight))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    nll = head.token_nll(hidden.detach(), labels)
    torch.testing.assert_close(
        nll, F.cross_entropy(hidden @ head.weight.T, labels, reduction="none").detach(),
        rtol=1e-5, atol=1e-5,
    )  # fmt: skip


def test_the_loss_stays_finite_for_logits_of_thousands():
    head = Head(4, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1e4] * 4, [-1e4] * 4, [0.0] * 4]))
    hidden = torch.ones(1, 4, requires_grad=True)
    loss = head(hidden, torch.tensor([2]))
    assert loss.item() == pytest.approx(4e4)
    assert torch.isfinite(torch.autograd.grad(loss, hidden)[0]).all()


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    cos, sin = rotary_tables(40, 8, 10_000.0, torch.float32, torch.device("cpu"))
    q, k = torch.randn(8).expand(40, 8), torch.randn(8).expand(40, 8)
    turned_q, turned_k = rotate(q, cos, sin), rotate(k, cos, sin)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    products = turned_q @ turned_k.T
    for distance in (0, 3, 11):
        diagonal = products.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


def test_rotation_has_the_gradient_of_its_formula():
    cos, sin = rotary_tables(5, 8, 100.0, torch.float64, torch.device("cpu"))
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rotate(x, cos, sin), x)


def test_what_comes_later_never_changes_what_came_before():
    ids = torch.randint(0, 101, (1, 90))
    changed = ids.clone()
    changed[0, 60:] = (changed[0, 60:] + 1) % 101
    with torch.no_grad():
        a, b = model()(ids), model()(changed)
    assert torch.equal(a[:, :60], b[:, :60]) or torch.allclose(a[:, :60], b[:, :60], atol=1e-6)
    assert not torch.allclose(a[:, 60:], b[:, 60:], atol=1e-6)


def test_all_gradients_equal_those_of_plain_autograd():
    tied = TINY.model_copy(update={"tie_embeddings": True})
    for config in (TINY, tied):
        made = model(config)
        ids = torch.randint(0, 101, (3, 21))
        loss = made.head(made(ids[:, :-1]), ids[:, 1:])
        got = torch.autograd.grad(loss, list(made.parameters()))
        logits = F.linear(_plain_forward(made, ids[:, :-1]), made.head.weight)
        plain = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        want = torch.autograd.grad(plain, list(made.parameters()))
        torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-4)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def _plain_forward(made: Llama, ids: torch.Tensor) -> torch.Tensor:
    """The decoder written with nothing but textbook operations."""
    config = made.config
    x = F.embedding(ids, made.embed_tokens.weight)
    cos, sin = rotary_tables(ids.shape[1], config.head_size, config.rope_theta, x.dtype, x.device)
    cos, sin = torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)

    def norm(x, layer):
        return x / (x.pow(2).mean(-1, keepdim=True) + config.norm_eps).sqrt() * layer.weight

    def turn(x):
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    for layer in made.layers:
        y = norm(x, layer.input_layernorm)
        attention = layer.self_attn
        q, k, v = (
            F.linear(y, p.weight).unflatten(-1, (-1, config.head_size)).transpose(1, 2)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        k, v = (
            t.repeat_interleave(config.heads // config.key_value_heads, 1) for t in (turn(k), v)
        )
        scores = turn(q) @ k.mT / config.head_size**0.5
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        z = scores.masked_fill(ahead, float("-inf")).softmax(-1) @ v
        x = x + F.linear(z.transpose(1, 2).flatten(-2), attention.o_proj.weight)
        y = norm(x, layer.post_attention_layernorm)
        inner = F.silu(F.linear(y, layer.mlp.gate_proj.weight))
        inner = inner * F.linear(y, layer.mlp.up_proj.weight)
        x = x + F.linear(inner, layer.mlp.down_proj.weight)
    return norm(x, made.norm)


def test_bf16_losses_and_gradients_stay_near_fp32():
    made = model()
    ids = torch.randint(0, 101, (2, 65))
    half = Llama(TINY)
    half.load_state_dict(made.state_dict())
    half.bfloat16()
    gradients = {}
    for name, one in (("fp32", made), ("bf16", half)):
        loss = one.head(one(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        gradients[name] = (loss.item(), one.embed_tokens.weight.grad.float())
    assert gradients["bf16"][0] == pytest.approx(gradients["fp32"][0], rel=2e-3)
    difference = (gradients["bf16"][1] - gradients["fp32"][1]).norm()
    assert difference / gradients["fp32"][1].norm() < 0.03


def test_weights_are_drawn_from_the_seed_alone():
    torch.manual_seed(1)
    first = model(seed=5).state_dict()
    torch.manual_seed(2)
    again, other = model(seed=5).state_dict(), model(seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed_tokens.weight"], other["embed_tokens.weight"])


def test_a_sequence_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="97 tokens do not fit a context of 96"):
        model()(torch.zeros(1, 97, dtype=torch.int64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 5}, "does not divide"),
        ({"kv_heads": 3}, "multiple of kv_heads"),
        ({"head_dim": 7}, "must be even"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**(TINY.model_dump() | change))


def test_parameters_are_counted_as_they_are():
    for config in (TINY, TINY.model_copy(update={"tie_embeddings": True})):
        made = Llama(config)
        assert parameters(config)["total"] == sum(p.numel() for p in made.parameters())


def test_skywork_13b_has_the_reported_size_and_cost():
    # Skywork-13B report: 52 layers, hidden 4608, ffn 12288, 36 heads; 13.25 B in the body, two
    # embeddings of 0.302 B. At 1,873 tokens/s on 312 TFLOP/s: 55.9, 57.0 and 52.3 % by convention.
    count = parameters(SKYWORK_13B)
    assert count["body"] / 1e9 == pytest.approx(13.25, abs=0.005)
    assert count["head"] / 1e9 == pytest.approx(0.302, abs=0.0005)
    utilisation = {
        name: flops_per_token(SKYWORK_13B, 4096, name) * 1873 / 312e12
        for name in ("body_and_head", "all_parameters", "causal")
    }
    assert utilisation["body_and_head"] == pytest.approx(0.559, abs=5e-4)
    assert utilisation["all_parameters"] == pytest.approx(0.570, abs=5e-4)
    assert utilisation["causal"] == pytest.approx(0.523, abs=5e-4)
