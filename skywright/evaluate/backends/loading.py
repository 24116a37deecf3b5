"""Reading a Hugging Face folder: the parts that must fit, and a line for each that does not."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from skywright.errors import UserError
from skywright.evaluate.backends import no_number_advice

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SPREAD = "auto"
"""The device that stands for all there are: accelerate cuts the model into layers for them."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def check_dtype(dtype: str) -> str:
    """The name as it is, or `UserError` if it is none of `DTYPES`."""
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
    return dtype


def check_device(device: str) -> str:
    """The name as it is, or `UserError` if torch cannot use it here.

    "auto" needs accelerate, which finds the devices itself.
    """
    if device == SPREAD:
        if importlib.util.find_spec("accelerate") is None:
            raise UserError(
                "device 'auto': accelerate, which spreads a model over devices, is not installed;"
                " pip install accelerate, or name one device, such as cuda:0"
            )
        return device
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device {device!r}: torch cannot use it here ({_first_line(error)});"
            " name cpu, or a device that this machine has"
        ) from None
    return device


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(" :")


def _refuse_remote_code(folder: Path, error: BaseException) -> None:
    """Raise our own line if this is how transformers asks for leave to run a folder's code."""
    if "trust_remote_code" in str(error):
        raise UserError(
            f"{folder}: this model comes with Python code of its own, which would run on this"
            " machine; read its *.py files, then ask for it with --trust-remote-code"
        ) from None


def read_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """The folder's configuration. Raises `UserError` if it is none of a causal language model."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name one that holds a model")
    try:
        config = transformers.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        _refuse_remote_code(folder, error)
        raise UserError(
            f"{folder}: transformers cannot read this model ({_first_line(error)}); a folder with"
            " config.json, tokenizer files and *.safetensors is needed"
        ) from None
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(
            f"{folder}/config.json: a {config.model_type} model has an encoder; documents are"
            " scored by models that only read from left to right"
        )
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = quantised.get("quant_method", "unnamed") if isinstance(quantised, dict) else "its"
        raise UserError(
            f"{folder}/config.json, quantization_config: {method} weights are not scored here;"
            " name the folder of the full weights, or serve this one (docs/backends.md)"
        )
    return config


def read_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    """The folder's tokenizer, or `UserError` if transformers finds none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name the one that holds the tokenizer")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        _refuse_remote_code(folder, error)
        raise UserError(
            f"{folder}: transformers cannot read a tokenizer here ({_first_line(error)}); put"
            " tokenizer.json beside the weights, or name its folder with --tokenizer"
        ) from None
    # Every text would become nothing: some classes open on an empty folder.
    if len(tokenizer) == 0:
        raise UserError(f"{folder}: holds an empty tokenizer; put the model's tokenizer.json there")
    return tokenizer


def start_token(tokenizer: Any, folder: Path) -> int:
    """BOS, or EOS where there is no BOS; `UserError` where there is neither."""
    for start in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if start is not None:
            return int(start)
    raise UserError(f"{folder}: the tokenizer has neither BOS nor EOS; declare one")


def check_fit(tokenizer: Any, vocab_size: int, folder: Path) -> None:
    """Raise `UserError` if the tokenizer's own vocabulary is larger than the output layer.

    Added tokens may lie beyond it: some models never had rows for their padding token, and no
    text is encoded to one.
    """
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"{folder}: the tokenizer knows {tokenizer.vocab_size} tokens, the model has rows for"
            f" {vocab_size}; tokenizer and weights are not of one model"
        )


def context_of(config: Any, wanted: int | None, folder: Path) -> int:
    """Longest window: what the configuration declares, or `wanted` if that is less.

    Raises `UserError` if neither says.
    """
    declared = getattr(config.get_text_config(), "max_position_embeddings", None)
    known = [int(tokens) for tokens in (declared, wanted) if tokens]
    if not known:
        raise UserError(
            f"{folder}/config.json, max_position_embeddings: missing; add it, or give"
            " --context-tokens"
        )
    return min(known)


def check_weight_files(folder: Path) -> None:
    """Raise `UserError` unless the folder's weights are safetensors, all of them there."""
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        found = (
            f"only pickled ones ({pickles[0]}), which can run code when opened" if pickles else ""
        )
        raise UserError(
            f"{folder}: no *.safetensors weights{', ' + found if found else ''}; save the model"
            " with save_pretrained, which writes safetensors"
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError):
            raise UserError(f"{index}: is no index of weights; copy the model again") from None
        missing = sorted(name for name in named if not (folder / name).is_file())
        if missing:
            raise UserError(
                f"{folder}: {missing[0]} is missing ({len(missing)} of {len(named)} weight files);"
                " copy the model again"
            )


def load_weights(folder: Path, dtype: str, device: str, trust_remote_code: bool = False) -> Any:
    """The model of a folder, ready to score.

    transformers fills a weight that the files lack with random numbers and passes over one that
    it does not expect; here both are refused, as are numbers that are none. Raises `UserError`.
    """
    check_weight_files(folder)
    # Its bar would run across the caller's own progress.
    transformers.utils.logging.disable_progress_bar()
    try:
        loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            dtype=DTYPES[dtype],
            output_loading_info=True,
            device_map=SPREAD if device == SPREAD else None,
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        _refuse_remote_code(folder, error)
        raise UserError(
            f"{folder}: transformers cannot read the weights ({_first_line(error)}); copy or"
            " export the model again"
        ) from None
    model, info = loaded
    _check_loaded(folder, model, info)
    _check_numbers(folder, model, dtype)
    model.eval()
    if device == SPREAD:
        return model
    try:
        return model.to(device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"{folder}: {device} has too little memory for it in {dtype}; use bfloat16, or"
            " --device auto to spread it"
        ) from None


def _check_loaded(folder: Path, model: Any, info: dict[str, Any]) -> None:
    missing = sorted(info["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} weights are missing, such as {missing[0]}, and would be"
            " random numbers; copy or export the model again"
        )
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    for name in sorted(info["unexpected_keys"]):
        match = _LAYER.search(name)
        if match and layers is not None and int(match.group(1)) >= layers:
            raise UserError(
                f"{folder}: the weights have {name}, but config.json says {layers} layers; the"
                " files are of two models"
            )
    rows = model.get_output_embeddings().weight.shape[0]
    vocab_size = model.config.get_text_config().vocab_size
    if rows != vocab_size:
        raise UserError(
            f"{folder}: config.json says vocab_size {vocab_size}, the weights have"
            f" {rows} rows; the files are of two models"
        )


def _check_numbers(folder: Path, model: Any, dtype: str) -> None:
    for name, parameter in model.named_parameters():
        if parameter.is_meta:  # left on disk by accelerate
            continue
        if not torch.isfinite(parameter).all():
            raise UserError(
                f"{folder}, {name}: holds values that are no number in {dtype};"
                f" {no_number_advice(dtype)}"
            )
