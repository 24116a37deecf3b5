"""A model as a Hugging Face folder: config.json, safetensors and the tokenizer's files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skywright.engine.files import read_json, write_json
from skywright.errors import UserError
from skywright.model.config import ModelConfig
from skywright.model.decoder import Decoder
from skywright.model.hf import gpt2, llama

Dtype = Literal["fp32", "bf16"]
TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")

MAX_FILE_BYTES = 5_000_000_000
"""Largest file of weights, as the Hugging Face hub's own tools write."""

MAX_LOGIT_DIFFERENCE = 1e-4
"""Largest difference of logits from transformers that is put down to the order of fp32 sums."""

_LAYOUTS: dict[str, ModuleType] = {"llama": llama, "qwen3": llama, "gpt2": gpt2}

_CHECK_TEXTS = (
    "语言模型按顺序预测每一个词元，因此可以计算整段文字的概率。",
    "A language model predicts one token after another, and so gives a text its probability.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n",
)


def export(
    model: Decoder,
    tokenizer_folder: Path,
    out: Path,
    dtype: Dtype = "fp32",
    max_file_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write `model` with its tokenizer as a Hugging Face folder into the existing folder `out`.

    Weights are rounded to `dtype`. Raises UserError if the tokenizer is missing or has ids that
    the model lacks. Wrap in `atomic_folder` where a reader may look at `out` meanwhile.
    """
    config = model.config
    layout = gpt2 if config.architecture == "gpt" else llama
    bos, eos = _special_ids(tokenizer_folder, config.vocab_size)
    tensors = {
        name: tensor.to(TORCH_DTYPES[dtype]).contiguous()
        for name, tensor in layout.to_hf(_named(model)).items()
    }
    split = split_torch_state_dict_into_shards(tensors, max_shard_size=max_file_bytes)
    for file, names in split.filename_to_tensors.items():
        save_file({name: tensors[name] for name in names}, out / file, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(out / INDEX, index)
    write_json(
        out / "config.json",
        {
            **layout.write_config(config),
            "initializer_range": (2 / (5 * config.hidden)) ** 0.5,
            "tie_word_embeddings": config.tie_embeddings,
            "bos_token_id": bos,
            "eos_token_id": eos,
            "pad_token_id": None,
            "use_cache": True,
            "torch_dtype": "float32" if dtype == "fp32" else "bfloat16",
        },
    )
    write_json(out / "generation_config.json", {"bos_token_id": bos, "eos_token_id": eos})
    for name in TOKENIZER_FILES:
        if (tokenizer_folder / name).is_file():
            shutil.copyfile(tokenizer_folder / name, out / name)


def _named(model: Decoder) -> dict[str, Tensor]:
    # A tied head is listed once.
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


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


def _read_config(folder: Path) -> tuple[ModuleType, ModelConfig]:
    where = f"{folder}/config.json"
    try:
        raw = read_json(folder / "config.json")
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{where}: cannot be read ({error})") from None
    kind = raw.get("model_type")
    if kind not in _LAYOUTS:
        raise UserError(
            f"{where}, model_type: {kind!r} is not one of {', '.join(_LAYOUTS)}, "
            "the only architectures that can be read"
        )
    layout = _LAYOUTS[kind]
    missing = [key for key in layout.NEEDED if key not in raw]
    if missing:
        raise UserError(f"{where}: {', '.join(missing)} missing; copy it again")
    try:
        return layout, layout.read_config(raw, where)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}: {'.'.join(map(str, first['loc']))} {first['msg']}") from None


def _weight_files(folder: Path) -> Iterator[Any]:
    """Each safetensors file of the folder, open for reading."""
    index = folder / INDEX
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    for name in names:
        if Path(name).name != name:
            raise UserError(f"{index}: weight_map names {name!r}, which is no file of this folder")
        if not (folder / name).is_file():
            raise UserError(f"{folder}: {name} is missing; only safetensors folders are read")
        try:
            with safe_open(folder / name, framework="pt") as file:
                yield file
        except SafetensorError as error:
            raise UserError(f"{folder / name}: is damaged ({error}); copy it again") from None


def _own_names(layout: ModuleType, config: ModelConfig, file: Any) -> dict[str, str]:
    """{name as we write it: name in the file} of the tensors that belong to the model."""
    stored = file.keys()
    names = {layout.canonical(name): name for name in stored}
    if config.tie_embeddings:
        names.pop("lm_head.weight", None)  # some writers repeat the embedding there
    return {ours: name for ours, name in names.items() if ours is not None}


def load_hf(folder: Path, dtype: Dtype = "fp32") -> Decoder:
    """Read a Hugging Face folder of a Llama, Qwen3 or GPT-2 model, in one or several files.

    Raises UserError for another architecture, for options that this model lacks, and for missing,
    surplus or misshapen tensors.
    """
    folder = Path(folder)
    layout, config = _read_config(folder)
    with torch.device("meta"):
        wanted = {name: t.shape for name, t in layout.to_hf(_named(Decoder(config))).items()}
    found = {
        name: torch.Size(file.get_slice(stored).get_shape())
        for file in _weight_files(folder)
        for name, stored in _own_names(layout, config, file).items()
    }
    for name in sorted(wanted.keys() | found.keys()):
        if name not in found or name not in wanted:
            state = "missing" if name in wanted else "not part of this architecture"
            raise UserError(
                f"{folder}, tensor {name}: {state}; the folder is damaged or of another model"
            )
        if wanted[name] != found[name]:
            raise UserError(
                f"{folder}, tensor {name}: shape {tuple(found[name])}, config.json asks for "
                f"{tuple(wanted[name])}"
            )
    model = Decoder(config)
    with torch.no_grad():
        ours = dict(model.named_parameters())
        for file in _weight_files(folder):
            names = _own_names(layout, config, file)
            theirs = {name: file.get_tensor(stored) for name, stored in names.items()}
            for name, tensor in layout.from_hf(theirs, config).items():
                ours[name].copy_(tensor)
    return model.to(TORCH_DTYPES[dtype]).eval()


@torch.no_grad()
def verify(folder: Path, model: Decoder) -> float:
    """Largest |difference| of logits between transformers' reading of `folder` and `model`.

    Both compute in fp32, on Chinese, English and code; `model` is an fp32 model that is first
    rounded to the folder's dtype.
    """
    from tokenizers import Tokenizer
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    folder = Path(folder)
    dtype = TORCH_DTYPES["bf16" if _stored_dtype(folder) == "bfloat16" else "fp32"]
    ours = Decoder(model.config).eval()
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
