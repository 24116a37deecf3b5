"""Packed layers compute what plain ones do, and a model that needs plain ones keeps them."""

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

from skywright.evaluate.backends import windows
from skywright.evaluate.backends.packed import (
    GatedPacked,
    PackedLinear,
    pack,
)
from tests.evaluate.tiny import PACKABLE, SHAPE

if not PACKABLE:
    pytest.skip("torch has no oneDNN here", allow_module_level=True)


@pytest.mark.parametrize("dtype", PACKABLE)
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


@pytest.mark.parametrize("dtype", PACKABLE)
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


@pytest.mark.parametrize("dtype", PACKABLE)
@pytest.mark.parametrize("biased", [False, True])
def test_losses_from_blocks_of_the_vocabulary_are_the_plain_ones(dtype, biased, monkeypatch):
    monkeypatch.setattr(windows, "BLOCK_COLUMNS", 13)
    monkeypatch.setattr(windows, "PRODUCT_BYTES", 13 * dtype.itemsize * 20)
    monkeypatch.setattr(windows, "TABLE_BYTES", 13 * 4 * 7)
    torch.manual_seed(0)
    # The largest logit grows from block to block, and one row's are far beyond what exp can hold.
    weight = (torch.randn(97, 16) * torch.linspace(0.5, 2, 97)[:, None]).to(dtype)
    rows, labels = torch.randn(50, 16).to(dtype), torch.randint(97, (50,))
    rows[3] *= 100
    bias = torch.randn(97) if biased else None
    blocks = windows.vocabulary_blocks(weight)
    assert [len(block) for block in blocks] == [13] * 7 + [6]
    found = windows.linear_losses(rows, blocks, bias, labels)
    logits = F.linear(rows, weight).float() + (0 if bias is None else bias)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(
        found, F.cross_entropy(logits, labels, reduction="none"), rtol=tolerance, atol=tolerance
    )
    assert torch.isnan(windows.linear_losses(rows * float("nan"), blocks, bias, labels)).all()
