"""Folders that are not what they should be, each refused in a line."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from skywright.errors import UserError
from skywright.evaluate.backends import open_backend
from skywright.evaluate.backends.fingerprint import folder_fingerprint
from skywright.evaluate.backends.hf import HFBackend
from skywright.evaluate.backends.options import BackendOptions
from tests.evaluate.tiny import TEXTS, write_llama

WINDOW = np.array([1, 10, 20, 30, 40], dtype=np.int32)


@pytest.fixture
def folder(llama: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(llama, tmp_path / "m"))


def change_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    """Put weights (dots written as __) into the folder's file, or take them out."""
    weights = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        name = name.replace("__", ".")
        if tensor is None:
            del weights[name]
        else:
            weights[name] = tensor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def refusal(folder: Path, **options: object) -> str:
    """The line with which the folder is refused, at the latest when it is scored."""
    with pytest.raises(UserError) as refused:
        open_backend(folder, options=BackendOptions.model_validate(options)).token_nll(
            [WINDOW], [1]
        )
    message = str(refused.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near_full_precision(llama: Path, dtype: str) -> None:
    full = HFBackend(llama).token_nll([WINDOW], [1])[0]
    half = HFBackend(llama, dtype=dtype).token_nll([WINDOW], [1])[0]
    assert 0 < np.abs(full - half).max() < 0.1


def test_a_place_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    assert "neither a checkpoint nor a Hugging Face folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("{")
    assert "cannot read this model" in refusal(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "abacus"}')
    assert "cannot read this model" in refusal(tmp_path)


def test_a_model_with_an_encoder_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "t5", "vocab_size": 400}')
    assert "has an encoder" in refusal(folder)


def test_quantised_weights_are_refused(folder: Path) -> None:
    change_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    assert "gptq weights are not scored here" in refusal(folder)


def test_a_folder_without_a_tokenizer_is_refused_until_one_is_named(
    folder: Path, llama: Path
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    assert "cannot read a tokenizer here" in refusal(folder)
    assert ": )" not in refusal(folder)  # the words of transformers, cut at a line's end
    borrowed = HFBackend(folder, tokenizer=llama)
    whole = HFBackend(llama)
    assert (
        borrowed.token_nll([WINDOW], [1])[0].tolist() == whole.token_nll([WINDOW], [1])[0].tolist()
    )
    assert np.array_equal(borrowed.encode(TEXTS[0]).ids, whole.encode(TEXTS[0]).ids)
    assert borrowed.fingerprint != folder_fingerprint(folder)


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(folder: Path) -> None:
    change_config(folder, vocab_size=300)
    change_weights(
        folder,
        model__embed_tokens__weight=torch.ones(300, 32),
        lm_head__weight=torch.ones(300, 32),
    )
    assert "knows 400 tokens, the model has rows for 300" in refusal(folder)


def test_weights_of_another_size_than_the_configuration_are_refused(folder: Path) -> None:
    change_weights(folder, lm_head__weight=torch.ones(390, 32))
    assert "cannot read the weights" in refusal(folder)


def test_a_missing_weight_is_refused_and_not_made_up(folder: Path) -> None:
    change_weights(folder, model__layers__1__mlp__up_proj__weight=None)
    assert "1 weights are missing, such as model.layers.1.mlp.up_proj.weight" in refusal(folder)


def test_weights_of_layers_that_the_configuration_leaves_out_are_refused(folder: Path) -> None:
    change_config(folder, num_hidden_layers=1)
    assert "config.json says 1 layers" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = value
    change_weights(folder, model__norm__weight=weights["model.norm.weight"])
    assert "model.norm.weight: holds values that are no number in float32" in refusal(folder)


def test_weights_too_large_for_half_precision_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    change_weights(folder, model__norm__weight=weights["model.norm.weight"] * 1e5)
    HFBackend(folder).token_nll([WINDOW], [1])
    with pytest.raises(UserError, match="no number in float16"):
        HFBackend(folder, dtype="float16").token_nll([WINDOW], [1])


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "only pickled ones (pytorch_model.bin)" in refusal(folder)


@pytest.mark.parametrize("keep", [4, 300, -10])
def test_damaged_weights_are_refused(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert "cannot read the weights" in refusal(folder)


def test_a_missing_part_of_the_weights_is_refused(folder: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 1
    HFBackend(folder).token_nll([WINDOW], [1])
    parts[0].unlink()
    assert f"{parts[0].name} is missing" in refusal(folder)


CODE = """
import transformers
from pathlib import Path
(Path(__file__).parent / "ran").touch()
class OwnConfig(transformers.LlamaConfig):
    model_type = "own-of-the-folder"
class OwnModel(transformers.LlamaForCausalLM):
    config_class = OwnConfig
"""


def test_code_in_the_folder_runs_only_when_asked(
    folder: Path, llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    (folder / "own.py").write_text(CODE)
    change_config(
        folder,
        model_type="own-of-the-folder",
        architectures=["OwnModel"],
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    )
    assert "--trust-remote-code" in refusal(folder)
    assert not list(tmp_path.rglob("ran"))
    asked = open_backend(folder, options=BackendOptions(trust_remote_code=True))
    expected = HFBackend(llama).token_nll([WINDOW], [1])[0]
    np.testing.assert_array_equal(asked.token_nll([WINDOW], [1])[0], expected)
    assert list(tmp_path.rglob("ran"))
    before = asked.fingerprint
    (folder / "own.py").write_text(CODE + "\n# changed\n")
    changed = open_backend(folder, options=BackendOptions(trust_remote_code=True))
    assert changed.fingerprint != before


def test_spreading_over_devices_needs_accelerate(llama: Path) -> None:
    if importlib.util.find_spec("accelerate") is None:
        with pytest.raises(UserError, match="device 'auto': accelerate"):
            HFBackend(llama, device="auto")
    else:
        expected = HFBackend(llama).token_nll([WINDOW], [1])[0]
        spread = HFBackend(llama, device="auto").token_nll([WINDOW], [1])[0]
        np.testing.assert_allclose(spread, expected, rtol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_a_gpu_gives_what_the_processor_gives(llama: Path, device: str) -> None:
    expected = HFBackend(llama).token_nll([WINDOW], [1])[0]
    np.testing.assert_allclose(
        HFBackend(llama, device=device).token_nll([WINDOW], [1])[0], expected, rtol=1e-4
    )


def test_a_shorter_context_can_be_asked_for_but_not_a_longer_one(llama: Path) -> None:
    assert HFBackend(llama, context_tokens=20).context_tokens == 20
    assert HFBackend(llama, context_tokens=900).context_tokens == 64


def test_a_context_that_nobody_declares_must_be_given(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "m")
    model = transformers.MambaForCausalLM(
        transformers.MambaConfig(
            vocab_size=400, hidden_size=16, num_hidden_layers=1, state_size=4, intermediate_size=32
        )
    )
    model.save_pretrained(folder)
    assert "max_position_embeddings: missing" in refusal(folder)
    backend = HFBackend(folder, context_tokens=100)
    assert backend.context_tokens == 100
    assert np.isfinite(backend.token_nll([WINDOW], [1])[0]).all()
