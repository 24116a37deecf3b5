import pytest
import torch
import torch.nn.functional as F

from skywright.model.cache import KeyValueCache
from skywright.model.config import LinearScaling
from skywright.model.decoder import Decoder
from skywright.model.rotary import frequencies, rotary_tables, rotate
from tests.model.small import GPT, LLAMA, SHAPES, decoder, draw_ids


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    config = LLAMA.model_copy(update={"head_dim": 8})
    cos, sin = rotary_tables(torch.arange(40), config, torch.float32)
    q, k = torch.randn(8).expand(1, 1, 40, 8), torch.randn(8).expand(1, 1, 40, 8)
    turned_q, turned_k = rotate(q, cos, sin), rotate(k, cos, sin)
    torch.testing.assert_close(turned_q.norm(dim=-1), q.norm(dim=-1))
    products = (turned_q @ turned_k.mT)[0, 0]
    for distance in (0, 3, 11):
        diagonal = products.diagonal(-distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=1e-4, atol=1e-4)


def test_linear_scaling_gives_position_4n_the_angles_of_position_n():
    scaled = LLAMA.model_copy(update={"rope_scaling": LinearScaling(kind="linear", factor=4.0)})
    torch.testing.assert_close(frequencies(scaled) * 4, frequencies(LLAMA))


@pytest.mark.parametrize("shape", SHAPES)
def test_what_comes_later_never_changes_what_came_before(shape):
    model = decoder(SHAPES[shape])
    ids = draw_ids(1, 90)
    changed = ids.clone()
    changed[0, 60:] = (changed[0, 60:] + 1) % 101
    with torch.no_grad():
        a, b = model(ids), model(changed)
    torch.testing.assert_close(a[:, :60], b[:, :60], rtol=0, atol=1e-6)
    assert not torch.allclose(a[:, 60:], b[:, 60:], atol=1e-6)


@pytest.mark.parametrize("kernel", ["blocked", "sdpa"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_gradients_equal_those_of_plain_autograd(shape, kernel):
    model = decoder(SHAPES[shape], kernel=kernel)
    ids = draw_ids(3, 81)
    loss = model.head(model(ids[:, :-1]), ids[:, 1:])
    got = torch.autograd.grad(loss.total, list(model.parameters()))
    logits = F.linear(_plain_forward(model, ids[:, :-1]), model.head.weight)
    plain = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
    want = torch.autograd.grad(plain, list(model.parameters()))
    torch.testing.assert_close(loss.total, plain, rtol=1e-5, atol=1e-4)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def _plain_forward(model: Decoder, ids: torch.Tensor) -> torch.Tensor:
    """The decoder written with nothing but textbook operations."""
    config = model.config
    positions = torch.arange(ids.shape[1])
    x = F.embedding(ids, model.embed_tokens.weight)
    if config.architecture == "gpt":
        x = x + model.embed_positions.weight[positions]
    else:
        angles = torch.outer(positions.float(), frequencies(config))
        cos, sin = torch.cat([angles.cos()] * 2, -1), torch.cat([angles.sin()] * 2, -1)

    def norm(x, layer):
        if config.architecture == "gpt":
            x = x - x.mean(-1, keepdim=True)
            scaled = x / (x.pow(2).mean(-1, keepdim=True) + config.norm_eps).sqrt()
            return scaled * layer.weight + layer.bias
        return x / (x.pow(2).mean(-1, keepdim=True) + config.norm_eps).sqrt() * layer.weight

    def turn(x):
        if config.architecture == "gpt":
            return x
        first, second = x.chunk(2, -1)
        return x * cos + torch.cat([-second, first], -1) * sin

    for layer in model.layers:
        y = norm(x, layer.input_layernorm)
        attention = layer.self_attn
        q, k, v = (
            F.linear(y, p.weight, p.bias).unflatten(-1, (-1, config.head_size)).transpose(1, 2)
            for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        if config.qk_norm:
            q, k = norm(q, attention.q_norm), norm(k, attention.k_norm)
        k, v = (
            t.repeat_interleave(config.heads // config.key_value_heads, 1) for t in (turn(k), v)
        )
        scores = turn(q) @ k.mT / config.head_size**0.5
        ahead = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        z = scores.masked_fill(ahead, float("-inf")).softmax(-1) @ v
        x = x + F.linear(
            z.transpose(1, 2).flatten(-2), attention.o_proj.weight, attention.o_proj.bias
        )
        y = norm(x, layer.post_attention_layernorm)
        up = F.linear(y, layer.mlp.up_proj.weight, layer.mlp.up_proj.bias)
        if config.architecture == "gpt":
            inner = 0.5 * up * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (up + 0.044715 * up**3)))
        else:
            inner = F.silu(F.linear(y, layer.mlp.gate_proj.weight)) * up
        x = x + F.linear(inner, layer.mlp.down_proj.weight, layer.mlp.down_proj.bias)
    return norm(x, model.norm)


@pytest.mark.parametrize("kernel", ["blocked", "sdpa"])
@pytest.mark.parametrize("shape", SHAPES)
def test_packed_documents_are_computed_as_if_each_stood_alone(shape, kernel):
    model = decoder(SHAPES[shape], kernel=kernel)
    lengths = (13, 70, 7)
    row = draw_ids(1, sum(lengths))
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    with torch.no_grad():
        packed = model(row, positions)
        alone = torch.cat([model(piece) for piece in row.split(lengths, 1)], 1)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(model(row), alone, atol=1e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_reading_through_a_cache_gives_the_states_of_reading_at_once(shape):
    model = decoder(SHAPES[shape])
    ids = draw_ids(2, 90)
    cache = KeyValueCache(model.config, 2, 90)
    with torch.no_grad():
        whole = model(ids)
        pieces = [model(piece, cache=cache) for piece in ids.split([40, 1, 1, 30, 18], 1)]
    assert cache.length == 90
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", ["llama", "llama, QK-norm", "gpt"])
def test_a_layer_is_compiled_without_a_break_and_computes_the_same(shape):
    model, ids = decoder(SHAPES[shape]), draw_ids(2, 80)

    def gradients():
        loss = model.head(model(ids[:, :-1]), ids[:, 1:])
        return torch.autograd.grad(loss.total, list(model.parameters()))

    eager = gradients()
    for layer in model.layers:
        layer.compile(fullgraph=True, backend="aot_eager")
    for a, b in zip(gradients(), eager, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_compiled_layers_score_texts_of_every_length_as_plain_ones_do():
    plain, model = decoder(LLAMA), decoder(LLAMA)
    model.compile_layers()
    with torch.no_grad(), model.evaluating():
        for length in range(2, 16):  # more lengths than torch compiles one function for
            ids = draw_ids(1, length)
            assert torch.equal(model(ids), plain(ids))


def test_dropout_acts_in_training_alone_and_keeps_the_mean():
    model = decoder(GPT.model_copy(update={"dropout": 0.5}))
    x = torch.zeros(1, 1, dtype=torch.int64).expand(400, 1)
    with torch.no_grad():
        still = model.eval().embed(x, torch.zeros(1, dtype=torch.int64))
        moved = model.train().embed(x, torch.zeros(1, dtype=torch.int64))
        assert torch.equal(model.eval()(x), model(x))
        assert not torch.equal(model.train()(x), model(x))
    assert (moved == 0).float().mean() == pytest.approx(0.5, abs=0.03)
    torch.testing.assert_close(moved.mean(0), still[0], rtol=0.2, atol=0.05)


@pytest.mark.parametrize("config", [LLAMA, GPT])
def test_bf16_losses_and_gradients_stay_near_fp32(config):
    made = Decoder(config)
    made.initialise(0)
    ids = draw_ids(2, 65)
    half = Decoder(config)
    half.load_state_dict(made.state_dict())
    half.bfloat16()
    gradients = {}
    for name, one in (("fp32", made), ("bf16", half)):
        loss = one.head(one(ids[:, :-1]), ids[:, 1:])
        loss.total.backward()
        gradients[name] = (loss.nats.item(), one.embed_tokens.weight.grad.float())
    assert gradients["bf16"][0] == pytest.approx(gradients["fp32"][0], rel=2e-3)
    difference = (gradients["bf16"][1] - gradients["fp32"][1]).norm()
    assert difference / gradients["fp32"][1].norm() < 0.03


def test_weights_are_drawn_from_the_seed_alone():
    def weights(seed):
        made = Decoder(GPT)
        made.initialise(seed)
        return made.state_dict()

    torch.manual_seed(1)
    first = weights(5)
    torch.manual_seed(2)
    again, other = weights(5), weights(6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed_tokens.weight"], other["embed_tokens.weight"])


def test_what_writes_to_the_residual_stream_starts_smaller_by_the_depth():
    config = LLAMA.model_copy(update={"hidden": 256, "ffn_hidden": 512, "layers": 8})
    made = Decoder(config)
    made.initialise(0)
    std = (2 / (5 * 256)) ** 0.5
    layer = made.layers[3]
    assert layer.self_attn.q_proj.weight.std().item() == pytest.approx(std, rel=0.03)
    assert layer.mlp.down_proj.weight.std().item() == pytest.approx(std / 4, rel=0.03)
    assert (layer.input_layernorm.weight == 1).all()


def test_a_sequence_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="97 tokens do not fit a context of 96"):
        decoder()(draw_ids(1, 97))
    model, cache = decoder(), KeyValueCache(LLAMA, 1, 96)
    with torch.no_grad():
        model(draw_ids(1, 90), cache=cache)
        with pytest.raises(ValueError, match="97 tokens do not fit a context of 96"):
            model(draw_ids(1, 7), cache=cache)
