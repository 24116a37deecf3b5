"""What can be scored: a model behind two methods, `encode` and `token_nll`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends.options import BackendOptions


class Backend(Protocol):
    """A model that gives the loss of every token of a window.

    name: the back-end's own name; fingerprint: hex SHA-256 of weights, shape and tokenizer;
    vocab_size: rows of the output layer; context_tokens: most tokens it reads at a time;
    start_token_id: put before every window (the tokenizer's BOS, or its EOS if it has no BOS);
    frame: ids that the tokenizer itself puts before and behind a text when it is left to (only
    emulated protocols follow it); dtype: of the weights, such as "float32"; device_kind: what
    computes, such as "cpu" or a GPU's name.
    """

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def context_tokens(self) -> int: ...
    @property
    def start_token_id(self) -> int: ...
    @property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def device_kind(self) -> str: ...

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends; no start or end token."""
        ...

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """Losses of one batch of windows, computed together.

        windows[w]: token ids, the start token among them, at most context_tokens + 1 (the last
        is not read); first_scored[w] >= 1. Returns for each window float32
        (len(window) - first_scored): -ln p(token i | tokens before it in the window) in nats for
        i = first_scored .. len(window) - 1.
        """
        ...


def no_number_advice(dtype: str) -> str:
    """What to do about weights or losses that are no numbers in this dtype."""
    if dtype in ("bfloat16", "float16"):
        return "the weights are damaged or overflow in this dtype: try float32"
    return "the weights are damaged: copy or export the model again"


@runtime_checkable
class ManyBatches(Protocol):
    """A back-end over many processes, which takes batches together to deal them out."""

    def batches_nll(
        self, batches: Sequence[tuple[Sequence[np.ndarray], Sequence[int]]]
    ) -> list[list[np.ndarray]]:
        """`Backend.token_nll` of each batch, a pair of windows and first scored positions."""
        ...


def open_backend(
    model: Path | str,
    device: str = "cpu",
    dtype: str = "float32",
    options: BackendOptions | None = None,
) -> Backend:
    """The back-end for a model's folder, file or address.

    A Hugging Face folder and a GGUF file are loaded through transformers as their users would;
    `llama-cpp+` before a GGUF file's path has llama.cpp compute. A training checkpoint is scored
    by our own model, in float32 on the processor. An address such as
    `vllm+http://127.0.0.1:8000#name` is a server; device and dtype are then its own affair.
    Raises `UserError` if `model` is none of these, or a checkpoint is to be scored otherwise.
    """
    from skywright.checkpoint.folder import SEAL
    from skywright.evaluate.backends.gguf import GGUFBackend, is_gguf
    from skywright.evaluate.backends.hf import HFBackend
    from skywright.evaluate.backends.llama import PREFIX, LlamaCppBackend
    from skywright.evaluate.backends.server import ServerBackend, is_address
    from skywright.evaluate.backends.skywright import SkywrightBackend

    options = options or BackendOptions()
    if is_address(str(model)):
        return ServerBackend(str(model), options)
    if str(model).startswith(PREFIX):
        return LlamaCppBackend(Path(str(model).removeprefix(PREFIX)), device, dtype, options)
    path = Path(model)
    if is_gguf(path):
        return GGUFBackend(path, device, dtype, options)
    if (path / SEAL).is_file():
        if (device, dtype) != ("cpu", "float32"):
            raise UserError(
                f"{path}: a training checkpoint is scored on cpu in float32, not on {device} in"
                f" {dtype}; score its Hugging Face folder"
            )
        return SkywrightBackend.from_checkpoint(path)
    if not (path / "config.json").is_file():
        raise UserError(
            f"{path}: neither a checkpoint nor a Hugging Face folder (config.json is missing) nor"
            " a GGUF file; name one of those, or a server's address"
        )
    return HFBackend(
        path, device, dtype, options.tokenizer, options.trust_remote_code, options.context_tokens
    )
