import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from skywright import tokenizer as tokenizer_room
from skywright.errors import UserError
from skywright.model.decoder import Decoder
from skywright.model.hf import MAX_LOGIT_DIFFERENCE, export, load_hf, verify
from skywright.tokenizer import TokenizerConfig
from tests.model.small import SHAPES, decoder

WIDER = {"vocab_size": 400}  # room for the tokenizer's ids


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


def model(shape: str) -> Decoder:
    return decoder(SHAPES[shape].model_copy(update=WIDER), seed=3).eval()


CLASSES = {"gpt": GPT2LMHeadModel, "gpt, tied": GPT2LMHeadModel, "llama, QK-norm": Qwen3ForCausalLM}


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same_logits(tmp_path, tokenizer_folder, shape):
    ours = model(shape)
    export(ours, tokenizer_folder, tmp_path)
    assert verify(tmp_path, ours) <= MAX_LOGIT_DIFFERENCE
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    assert type(theirs) is CLASSES.get(shape, LlamaForCausalLM)
    ids = torch.randint(0, 400, (2, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            ours.logits(ids), theirs(input_ids=ids).logits, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_exported_is_read_back_to_the_bit(tmp_path, tokenizer_folder, shape):
    ours = model(shape)
    export(ours, tokenizer_folder, tmp_path)
    again = load_hf(tmp_path)
    assert again.config.of_the_weights() == ours.config.of_the_weights()
    assert again.config.context_tokens == ours.config.context_tokens
    for name, weight in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight)


def test_a_bf16_export_is_the_model_rounded(tmp_path, tokenizer_folder):
    ours = model("llama")
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


def test_gpt2_and_qwen3_as_transformers_makes_them_are_read(tmp_path):
    torch.manual_seed(0)
    gpt2 = GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    qwen3 = Qwen3Config(
        vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=16,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    ids = torch.arange(40)[None]
    for theirs in (GPT2LMHeadModel(gpt2).eval(), Qwen3ForCausalLM(qwen3).eval()):
        with torch.no_grad():  # GPT-2 starts with every norm at 1 and every bias at 0
            for parameter in theirs.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        theirs.save_pretrained(tmp_path / theirs.config.model_type)
        ours = load_hf(tmp_path / theirs.config.model_type)
        with torch.no_grad():
            torch.testing.assert_close(
                ours.logits(ids), theirs(input_ids=ids).logits, rtol=1e-4, atol=1e-4
            )
    assert load_hf(tmp_path / "gpt2").config.dropout == 0.1


def test_the_first_gpt2_files_with_short_names_and_masks_are_read(tmp_path, tokenizer_folder):
    ours = model("gpt, tied")
    export(ours, tokenizer_folder, tmp_path)
    file = tmp_path / "model.safetensors"
    short = {k.removeprefix("transformer."): v for k, v in load_file(file).items()}
    masks = {f"h.{i}.attn.bias": torch.ones(1, 1, 96, 96).tril() for i in range(2)}
    save_file(short | masks, file, metadata={"format": "pt"})
    again = load_hf(tmp_path).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in ours.state_dict().items())


@pytest.mark.parametrize("shape", ["llama, tied", "gpt"])
def test_large_models_are_written_in_several_files_with_an_index(tmp_path, tokenizer_folder, shape):
    ours = model(shape)
    export(ours, tokenizer_folder, tmp_path, max_file_bytes=40_000)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert files == sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert verify(tmp_path, ours) <= MAX_LOGIT_DIFFERENCE
    again = load_hf(tmp_path).state_dict()
    assert all(torch.equal(again[name], weight) for name, weight in ours.state_dict().items())


def test_a_damaged_export_is_caught_by_its_logits(tmp_path, tokenizer_folder):
    ours = model("llama")
    export(ours, tokenizer_folder, tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    q = tensors["model.layers.0.self_attn.q_proj.weight"]
    # The other rotary layout: pairs side by side instead of in halves.
    tensors["model.layers.0.self_attn.q_proj.weight"] = (
        q.view(4, 2, 4, 32).transpose(1, 2).reshape(32, 32).contiguous()
    )
    save_file(tensors, file, metadata={"format": "pt"})
    assert verify(tmp_path, ours) > 100 * MAX_LOGIT_DIFFERENCE


def test_the_special_tokens_are_the_tokenizers(tmp_path, tokenizer_folder):
    export(model("llama"), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)
    assert (tmp_path / "tokenizer.json").read_bytes() == (
        tokenizer_folder / "tokenizer.json"
    ).read_bytes()


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path, tokenizer_folder):
    small = decoder(SHAPES["llama"].model_copy(update={"vocab_size": 300}))
    with pytest.raises(UserError, match=r"ids reach 3\d\d, the model has 300 rows"):
        export(small, tokenizer_folder, tmp_path)
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        export(model("llama"), tmp_path / "absent", tmp_path)


@pytest.mark.parametrize(
    ("shape", "key", "value", "message"),
    [
        ("llama", "model_type", "qwen2", "model_type: 'qwen2' is not one of llama, qwen3, gpt2"),
        ("llama", "hidden_act", "gelu", "hidden_act: 'gelu' is not supported"),
        ("llama", "attention_bias", True, "attention_bias: True is not supported"),
        ("llama", "rope_parameters", {"rope_type": "yarn"}, "rope type: 'yarn' is not supported"),
        ("llama", "rope_parameters", {"rope_type": "linear"}, "rope_parameters: 'factor' missing"),
        ("llama", "num_attention_heads", 3, "heads 3 must be a multiple of kv_heads 2"),
        ("llama", "num_hidden_layers", 3, "tensor model.layers.2.*: missing"),
        ("llama", "num_hidden_layers", 1, "tensor model.layers.1.*: not part of this architecture"),
        ("llama", "intermediate_size", 64, r"shape \(32, 48\), config.json asks for \(32, 64\)"),
        ("llama, QK-norm", "model_type", "llama", "k_norm.weight: not part of this architecture"),
        ("llama, QK-norm", "use_sliding_window", True, "use_sliding_window: True is not supported"),
        ("gpt", "activation_function", "relu", "activation_function: 'relu' is not supported"),
        ("gpt", "scale_attn_by_inverse_layer_idx", True, "idx: True is not supported"),
        ("gpt", "n_inner", 64, r"shape \(128,\), config.json asks for \(64,\)"),
        ("gpt", "n_layer", 3, "tensor transformer.h.2.*: missing"),
    ],
)
def test_folders_of_other_models_are_refused_with_the_field(
    tmp_path, tokenizer_folder, shape, key, value, message
):
    export(model(shape), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=message):
        load_hf(tmp_path)


def test_a_folder_without_safetensors_is_refused(tmp_path, tokenizer_folder):
    export(model("llama"), tokenizer_folder, tmp_path)
    shutil.move(tmp_path / "model.safetensors", tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="only safetensors folders are read"):
        load_hf(tmp_path)


def test_a_torn_weights_file_is_refused(tmp_path, tokenizer_folder):
    export(model("llama"), tokenizer_folder, tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"model.safetensors: is damaged"):
        load_hf(tmp_path)


def test_a_config_without_a_needed_field_is_refused_with_its_name(tmp_path, tokenizer_folder):
    export(model("llama"), tokenizer_folder, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["rms_norm_eps"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"config.json: rms_norm_eps missing"):
        load_hf(tmp_path)


def test_an_index_cannot_name_files_of_other_folders(tmp_path, tokenizer_folder):
    (tmp_path / "model").mkdir()
    export(model("llama"), tokenizer_folder, tmp_path / "model")
    shutil.move(tmp_path / "model" / "model.safetensors", tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="no file of this folder"):
        load_hf(tmp_path / "model")
