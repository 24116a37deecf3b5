import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from skywright import tokenizer as tokenizer_room
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.hf import MAX_LOGIT_DIFFERENCE, export, load_hf, verify
from skywright.model.llama import Llama
from skywright.tokenizer import TokenizerConfig

SHAPES = {
    "plain": ModelConfig(
        vocab_size=400, hidden=48, layers=2, heads=4, ffn_hidden=80, context_tokens=64
    ),
    "grouped, tied, wide heads, other theta": ModelConfig(
        vocab_size=400, hidden=32, layers=3, heads=4, kv_heads=2, head_dim=16, ffn_hidden=40,
        context_tokens=128, rope_theta=500_000.0, norm_eps=1e-6, tie_embeddings=True,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "t"
    text = "the quick brown fox 今天 我们 看见 河 def return sum values len " * 20
    tokenizer_room.train(
        TokenizerConfig(vocab_size=330, sample_bytes=50_000, character_coverage=1.0),
        [("en", "made", text + str(i)) for i in range(10)],
        folder,
    )
    return folder


def model(config: ModelConfig) -> Llama:
    made = Llama(config)
    made.initialise(3)
    with torch.no_grad():  # larger than at the start, so that a mistake shows in the logits
        for parameter in made.parameters():
            parameter.mul_(1.5)
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same_logits(tmp_path, tokenizer_folder, shape):
    ours = model(SHAPES[shape])
    export(ours, tokenizer_folder, tmp_path)
    assert verify(tmp_path, ours) <= MAX_LOGIT_DIFFERENCE
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(theirs) is LlamaForCausalLM
    ids = torch.randint(0, 400, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            ours.logits(ids), theirs(input_ids=ids).logits, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_exported_is_read_back_to_the_bit(tmp_path, tokenizer_folder, shape):
    ours = model(SHAPES[shape])
    export(ours, tokenizer_folder, tmp_path)
    again = load_hf(tmp_path)
    assert again.config == ours.config.resolved()
    for name, weight in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


def test_a_bf16_export_is_the_model_rounded(tmp_path, tokenizer_folder):
    ours = model(SHAPES["plain"])
    export(ours, tokenizer_folder, tmp_path, "bf16")
    assert {t.dtype for t in load_file(tmp_path / "model.safetensors").values()} == {torch.bfloat16}
    assert verify(tmp_path, ours) <= MAX_LOGIT_DIFFERENCE
    assert torch.equal(load_hf(tmp_path).norm.weight, ours.norm.weight.bfloat16().float())


def test_a_model_that_transformers_made_is_read_in_several_files(tmp_path):
    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        )
    )  # fmt: skip
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    ids = torch.arange(40)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            load_hf(tmp_path).logits(ids), theirs(input_ids=ids).logits, rtol=1e-4, atol=1e-5
        )


def test_a_damaged_export_is_caught_by_its_logits(tmp_path, tokenizer_folder):
    ours = model(SHAPES["plain"])
    export(ours, tokenizer_folder, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    q = tensors["model.layers.0.self_attn.q_proj.weight"]
    # The other rotary layout: pairs side by side instead of in halves.
    tensors["model.layers.0.self_attn.q_proj.weight"] = (
        q.view(4, 2, 6, 48).transpose(1, 2).reshape(48, 48).contiguous()
    )
    save_file(tensors, file, metadata={"format": "pt"})
    assert verify(tmp_path, ours) > 100 * MAX_LOGIT_DIFFERENCE


def test_the_special_tokens_are_the_tokenizers(tmp_path, tokenizer_folder):
    export(model(SHAPES["plain"]), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)
    assert (tmp_path / "tokenizer.json").read_bytes() == (
        tokenizer_folder / "tokenizer.json"
    ).read_bytes()


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path, tokenizer_folder):
    small = SHAPES["plain"].model_copy(update={"vocab_size": 300})
    with pytest.raises(UserError, match=r"ids reach 3\d\d, the model has 300 rows"):
        export(model(small), tokenizer_folder, tmp_path)
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        export(model(SHAPES["plain"]), tmp_path / "absent", tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model_type", "qwen2", "model_type: 'qwen2' is not 'llama'"),
        ("hidden_act", "gelu", "hidden_act: 'gelu' is not supported"),
        ("attention_bias", True, "attention_bias: True is not supported"),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": 1e4}, "rope type: 'llama3'"),
        ("num_hidden_layers", 3, "tensor model.layers.2.*: missing"),
        ("num_hidden_layers", 1, "tensor model.layers.1.*: not part of this architecture"),
        ("intermediate_size", 64, r"shape \(80, 48\), config.json asks for \(64, 48\)"),
    ],
)
def test_folders_of_other_models_are_refused_with_the_field(
    tmp_path, tokenizer_folder, key, value, message
):
    export(model(SHAPES["plain"]), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=message):
        load_hf(tmp_path)


def test_a_folder_without_safetensors_is_refused(tmp_path, tokenizer_folder):
    export(model(SHAPES["plain"]), tokenizer_folder, tmp_path)
    shutil.move(tmp_path / "model.safetensors", tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="only safetensors folders are read"):
        load_hf(tmp_path)


def test_a_config_without_a_needed_field_is_refused_with_its_name(tmp_path, tokenizer_folder):
    export(model(SHAPES["plain"]), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rms_norm_eps"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json: rms_norm_eps missing"):
        load_hf(tmp_path)


def test_an_index_cannot_name_files_of_other_folders(tmp_path, tokenizer_folder):
    (tmp_path / "model").mkdir()
    export(model(SHAPES["plain"]), tokenizer_folder, tmp_path / "model")
    shutil.move(tmp_path / "model" / "model.safetensors", tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no file of this folder"):
        load_hf(tmp_path / "model")
