import pytest
import torch
from pydantic import ValidationError

from skywright.errors import UserError
from skywright.model.config import Llama3Scaling, ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.flops import flops_per_token, parameters
from skywright.model.presets import PRESETS, preset
from tests.model.small import GPT, LLAMA, SHAPES


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (LLAMA, {"heads": 5}, "does not divide"),
        (LLAMA, {"kv_heads": 3}, "multiple of kv_heads"),
        (LLAMA, {"head_dim": 7}, "must be even"),
        (LLAMA, {"dropout": 1.0}, "less than 1"),
        (LLAMA, {"rope_scaling": {"kind": "yarn"}}, "'linear', 'llama3'"),
        (GPT, {"kv_heads": 2}, "architecture gpt has no kv_heads"),
        (GPT, {"head_dim": 16}, "architecture gpt has no head_dim"),
        (GPT, {"rope_theta": 5e5}, "architecture gpt has no rope_theta"),
        (GPT, {"rope_scaling": {"kind": "linear", "factor": 2}}, "gpt has no rope_scaling"),
        (GPT, {"qk_norm": True}, "architecture gpt has no qk_norm"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(base, change, message):
    with pytest.raises(ValidationError, match=message):
        ModelConfig(**(base.model_dump() | change))


def test_scaling_factors_in_the_wrong_order_are_refused():
    with pytest.raises(ValidationError, match=r"low_freq_factor 4.0 must be below"):
        Llama3Scaling(kind="llama3", low_freq_factor=4.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_comes_back_from_its_json(shape):
    config = SHAPES[shape]
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_weights_fit_where_only_training_or_a_rotary_context_differ():
    other = LLAMA.model_copy(update={"dropout": 0.1, "z_loss": 1e-4, "context_tokens": 512})
    assert other.of_the_weights() == LLAMA.of_the_weights()
    explicit = LLAMA.model_copy(update={"kv_heads": 2, "head_dim": 8})
    assert explicit.of_the_weights() == LLAMA.of_the_weights()
    longer = GPT.model_copy(update={"context_tokens": 512})
    assert longer.of_the_weights() != GPT.of_the_weights()


@pytest.mark.parametrize("shape", SHAPES)
def test_parameters_are_counted_as_they_are(shape):
    made, count = Decoder(SHAPES[shape]), parameters(SHAPES[shape])
    assert count["total"] == sum(p.numel() for p in made.parameters())
    body = [made.layers, made.norm]
    assert count["body"] == sum(p.numel() for part in body for p in part.parameters())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_built_as_they_are_counted(name):
    with torch.device("meta"):
        made = Decoder(preset(name))
    assert sum(p.numel() for p in made.parameters()) == parameters(preset(name))["total"]


def test_known_models_have_their_published_size():
    # LLaMA-7B and LLaMA2-13B: sums over the tensors of the released weights. GPT-2: the smallest
    # released model. Skywork-13B: 13.25 B in the body, two tables of 0.302 B (its report).
    assert parameters(preset("llama-7b"))["total"] == 6_738_415_616
    assert parameters(preset("llama2-13b"))["total"] == 13_015_864_320
    gpt2 = ModelConfig(
        architecture="gpt", vocab_size=50_257, hidden=768, layers=12, heads=12, ffn_hidden=3072,
        context_tokens=1024, tie_embeddings=True,
    )  # fmt: skip
    assert parameters(gpt2)["total"] == 124_439_808
    count = parameters(preset("skywork-13b"))
    assert count["body"] / 1e9 == pytest.approx(13.25, abs=0.005)
    assert count["head"] / 1e9 == pytest.approx(0.302, abs=0.0005)
    assert parameters(preset("gpt-7b"))["total"] / 1e9 == pytest.approx(7.0, abs=0.05)


def test_the_ladder_has_the_sizes_it_is_named_by():
    named = {"5m": 5, "10m": 10, "25m": 25, "50m": 50, "100m": 100, "200m": 200}
    for name, millions in named.items():
        body = parameters(preset(f"ladder-{name}"))["body"]
        assert body / 1e6 == pytest.approx(millions, rel=0.07)


def test_an_unknown_preset_is_refused_with_the_nearest_known():
    with pytest.raises(UserError, match="did you mean 'skywork-13b'"):
        preset("skywork13b")
    with pytest.raises(UserError, match="known: skywork-13b, llama2-13b"):
        preset("???")


def test_skywork_13b_has_the_reported_cost():
    # At 1,873 tokens/s on 312 TFLOP/s: 55.9, 57.0 and 52.3 % by convention.
    utilisation = {
        name: flops_per_token(preset("skywork-13b"), 4096, name) * 1873 / 312e12
        for name in ("body_and_head", "all_parameters", "causal")
    }
    assert utilisation["body_and_head"] == pytest.approx(0.559, abs=5e-4)
    assert utilisation["all_parameters"] == pytest.approx(0.570, abs=5e-4)
    assert utilisation["causal"] == pytest.approx(0.523, abs=5e-4)
