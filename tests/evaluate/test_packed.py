"""Packed layers compute what plain ones do, and a model that needs plain ones keeps them."""

import pytest
import torch
from torch import nn

from skywright.evaluate.backends.packed import (
    GatedPacked,
    PackedLinear,
    can_pack,
    pack,
    packed_weight,
)
from skywright.evaluate.backends.windows import linear_losses

transformers = pytest.importorskip("transformers")

if not can_pack(torch.zeros(1)):
    pytest.skip("torch has no oneDNN here", allow_module_level=True)

SHAPE = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip
DTYPES = [d for d in (torch.float32, torch.bfloat16) if can_pack(torch.zeros(1, dtype=d))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("config", "gated"),
    [
        (transformers.LlamaConfig(**SHAPE, mlp_bias=True, attention_bias=True), 2),
        (transformers.Qwen2Config(**SHAPE), 2),
        (transformers.GemmaConfig(**SHAPE, head_dim=8), 0),  # its activation is GELU
    ],
)
def test_a_model_gives_the_same(config, gated, dtype):
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(config).to(dtype).eval()
    ids = torch.randint(64, (2, 100))
    with torch.no_grad():
        wanted = made(ids).logits.float()
        assert pack(made.base_model, lambda: made(ids))
        found = made(ids).logits.float()
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()
    assert sum(isinstance(m, GatedPacked) for m in made.modules()) == gated
    assert not any(type(m) is nn.Linear for m in made.base_model.modules())


def test_a_layer_that_only_looks_gated_is_left_to_compute_by_itself():
    class Halved(transformers.models.llama.modeling_llama.LlamaMLP):
        def forward(self, x):
            return super().forward(x) / 2

    model = nn.ModuleList([Halved(transformers.LlamaConfig(**SHAPE))])
    x = torch.randn(3, 32)
    with torch.no_grad():
        wanted = model[0](x)
        assert pack(model, lambda: model[0](x))
        torch.testing.assert_close(model[0](x), wanted)
    assert isinstance(model[0], Halved)
    assert isinstance(model[0].up_proj, PackedLinear)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_model_that_reads_its_layers_weights_is_left_as_it_was(dtype):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, x):
            return torch.nn.functional.linear(x, self.inner.weight * 2, self.inner.bias)

    model = Reader().to(dtype)
    weight, bias = model.inner.weight.clone(), model.inner.bias.clone()
    x = torch.ones(2, 8, dtype=dtype)

    def probe():
        if isinstance(model.inner, PackedLinear):
            raise RuntimeError("plain weights are needed")
        return model(x)

    assert not pack(model, probe)
    assert type(model.inner) is nn.Linear
    assert torch.equal(model.inner.weight, weight)
    assert torch.equal(model.inner.bias, bias)


@pytest.mark.parametrize("bias", [None, torch.randn(97)])
def test_losses_from_a_packed_output_layer_are_the_plain_ones(bias):
    torch.manual_seed(0)
    rows, weight, labels = torch.randn(50, 16), torch.randn(97, 16), torch.randint(97, (50,))
    found = linear_losses(rows, packed_weight(weight), bias, labels)
    torch.testing.assert_close(found, linear_losses(rows, weight, bias, labels))
