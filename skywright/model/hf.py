"""Hugging Face folders: LlamaForCausalLM in safetensors, written, read, and checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from skywright.engine.files import read_json, write_json
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.llama import Llama

Dtype = Literal["fp32", "bf16"]
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHTS = "model.safetensors"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")

MAX_LOGIT_DIFFERENCE = 1e-4
"""Largest difference of logits from transformers that is put down to the order of fp32 sums."""

_CHECK_TEXTS = (
    "语言模型按顺序预测每一个词元，因此可以计算整段文字的概率。",
    "A language model predicts one token after another, and so gives a text its probability.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n",
)


def _hf_name(name: str) -> str:
    return "lm_head.weight" if name == "head.weight" else f"model.{name}"


def _hf_config(config: ModelConfig, dtype: Dtype, bos: int | None, eos: int | None) -> Any:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn_hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.key_value_heads,
        "head_dim": config.head_size,
        "max_position_embeddings": config.context_tokens,
        "rms_norm_eps": config.norm_eps,
        # Readers before transformers 5 know the first, later ones the second.
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "initializer_range": (2 / (5 * config.hidden)) ** 0.5,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": None,
        "use_cache": True,
        "torch_dtype": "float32" if dtype == "fp32" else "bfloat16",
    }


def _special_ids(tokenizer_folder: Path, vocab_size: int) -> tuple[int | None, int | None]:
    """Ids of the tokenizer's BOS and EOS, after checking that its ids fit the model."""
    if not (tokenizer_folder / "tokenizer.json").is_file():
        raise UserError(f"{tokenizer_folder}: no tokenizer.json; train or name a tokenizer first")
    document = read_json(tokenizer_folder / "tokenizer.json")
    ids = dict(document["model"]["vocab"]) if isinstance(document["model"]["vocab"], dict) else {}
    ids |= {token["content"]: token["id"] for token in document.get("added_tokens", [])}
    if max(ids.values(), default=0) >= vocab_size:
        raise UserError(
            f"{tokenizer_folder}: ids reach {max(ids.values())}, the model has {vocab_size} rows; "
            "set the model's vocab_size to the tokenizer's"
        )
    settings_file = tokenizer_folder / "tokenizer_config.json"
    settings = read_json(settings_file) if settings_file.is_file() else {}

    def id_of(key: str) -> int | None:
        token = settings.get(key)
        return ids.get(token["content"] if isinstance(token, dict) else token)

    return id_of("bos_token"), id_of("eos_token")


def export(model: Llama, tokenizer_folder: Path, out: Path, dtype: Dtype = "fp32") -> None:
    """Write `model` with its tokenizer as a Hugging Face folder into the existing folder `out`.

    Weights are rounded to `dtype`. Raises UserError if the tokenizer is missing or has ids that
    the model lacks. Wrap in `atomic_folder` where a reader may look at `out` meanwhile.
    """
    bos, eos = _special_ids(tokenizer_folder, model.config.vocab_size)
    tensors = {
        _hf_name(name): parameter.detach().to(TORCH_DTYPES[dtype]).contiguous()
        for name, parameter in model.named_parameters()  # a tied head is listed once
    }
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})
    write_json(out / "config.json", _hf_config(model.config, dtype, bos, eos))
    write_json(out / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
    for name in TOKENIZER_FILES:
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, out / name)


def _read_config(folder: Path) -> ModelConfig:
    try:
        raw = read_json(folder / "config.json")
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder}/config.json: cannot be read ({error})") from None
    if raw.get("model_type") != "llama":
        raise UserError(
            f"{folder}/config.json, model_type: {raw.get('model_type')!r} is not 'llama', "
            "the only architecture that can be read"
        )
    rope = raw.get("rope_parameters") or {}
    scaling = raw.get("rope_scaling") or {}
    for key, value, wanted in (
        ("hidden_act", raw.get("hidden_act", "silu"), "silu"),
        ("attention_bias", raw.get("attention_bias", False), False),
        ("mlp_bias", raw.get("mlp_bias", False), False),
        ("rope type", scaling.get("rope_type", rope.get("rope_type", "default")), "default"),
    ):
        if value != wanted:
            raise UserError(
                f"{folder}/config.json, {key}: {value!r} is not supported, only {wanted!r}"
            )
    needed = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "rms_norm_eps",
    )  # fmt: skip
    missing = [key for key in needed if key not in raw]
    if missing:
        raise UserError(f"{folder}/config.json: {', '.join(missing)} missing; copy it again")
    return ModelConfig(
        vocab_size=raw["vocab_size"],
        hidden=raw["hidden_size"],
        layers=raw["num_hidden_layers"],
        heads=raw["num_attention_heads"],
        kv_heads=raw.get("num_key_value_heads"),
        head_dim=raw.get("head_dim"),
        ffn_hidden=raw["intermediate_size"],
        context_tokens=raw["max_position_embeddings"],
        rope_theta=rope.get("rope_theta", raw.get("rope_theta", 10_000.0)),
        norm_eps=raw["rms_norm_eps"],
        tie_embeddings=raw.get("tie_word_embeddings", False),
    )


def _read_weights(folder: Path) -> dict[str, Tensor]:
    index = folder / f"{WEIGHTS}.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    tensors: dict[str, Tensor] = {}
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{index}: weight_map names {name!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing; only safetensors folders are read")
        tensors |= load_file(folder / name)
    return tensors


def load_hf(folder: Path, dtype: Dtype = "fp32") -> Llama:
    """Read a Hugging Face folder of a LlamaForCausalLM (one or several safetensors files).

    Raises UserError for another architecture, for options that this model lacks, and for missing,
    surplus or misshapen tensors.
    """
    folder = Path(folder)
    model = Llama(_read_config(folder))
    tensors = _read_weights(folder)
    if model.config.tie_embeddings:
        tensors.pop("lm_head.weight", None)
    expected = {_hf_name(name): parameter for name, parameter in model.named_parameters()}
    for name in sorted(expected.keys() ^ tensors.keys()):
        state = "missing" if name in expected else "not part of this architecture"
        raise UserError(f"{folder}, tensor {name}: {state}; the folder is damaged or not a LLaMA")
    with torch.no_grad():
        for name, parameter in expected.items():
            if parameter.shape != tensors[name].shape:
                raise UserError(
                    f"{folder}, tensor {name}: shape {tuple(tensors[name].shape)}, config.json "
                    f"asks for {tuple(parameter.shape)}"
                )
            parameter.copy_(tensors[name])
    return model.to(TORCH_DTYPES[dtype])


@torch.no_grad()
def verify(folder: Path, model: Llama) -> float:
    """Largest |difference| of logits between transformers' reading of `folder` and `model`.

    Both compute in fp32, on Chinese, English and code; `model` is an fp32 model that is first
    rounded to the folder's dtype.
    """
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    folder = Path(folder)
    dtype = TORCH_DTYPES["bf16" if _stored_dtype(folder) == "bfloat16" else "fp32"]
    ours = Llama(model.config)
    ours.load_state_dict({k: v.to(dtype).float() for k, v in model.state_dict().items()})
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        theirs = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    largest = 0.0
    for text in _CHECK_TEXTS:
        ids = torch.tensor([tokenizer.encode(text).ids[: model.config.context_tokens]])
        difference = (ours.logits(ids) - theirs(input_ids=ids).logits).abs().max().item()
        if difference != difference:
            return float("nan")
        largest = max(largest, difference)
    return largest


def _stored_dtype(folder: Path) -> str:
    return str(read_json(folder / "config.json").get("torch_dtype"))
