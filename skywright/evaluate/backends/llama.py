"""GGUF files by llama.cpp itself: the numbers that its users' machines compute with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from skywright.engine.files import stable_hash
from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import hf_tokens
from skywright.evaluate.backends.fingerprint import tokenizer_fingerprint
from skywright.evaluate.backends.gguf import check_file
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.llama_library import PACKAGE, library
from skywright.evaluate.backends.llama_vocabulary import LlamaVocabulary
from skywright.evaluate.backends.llama_weights import LlamaWeights
from skywright.evaluate.backends.loading import check_fit, read_tokenizer, start_token
from skywright.evaluate.backends.options import BackendOptions
from skywright.evaluate.backends.view import TokenizerView, TransformersView

PREFIX = "llama-cpp+"
"""Stands before a GGUF file's path where llama.cpp is to compute."""


class LlamaCppBackend:
    """A GGUF file through llama-cpp-python, on the processor.

    Blocks are multiplied as they are, with activations rounded as llama.cpp rounds them, so the
    dtype is the file's own. The tokenizer is the file's, run by llama.cpp, unless a folder is
    named. Windows are computed one at a time: no batch can move a number. Vocabulary and metadata
    are read at once, the weights when the first window is scored. Raises `UserError` if the
    package is not installed, or the file is damaged, without weights or unknown to llama.cpp.
    """

    name = "llama-cpp"
    device_kind = "cpu"

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        dtype: str = "float32",
        options: BackendOptions | None = None,
    ) -> None:
        options = options or BackendOptions()
        self.file = Path(path).expanduser()
        if (device, dtype) != ("cpu", "float32"):
            raise UserError(
                f"{PREFIX}{path}: llama.cpp computes on cpu, in what the file's blocks are made"
                f" for, not on {device} in {dtype}; leave both out, or the {PREFIX}"
            )
        self.libraries = {PACKAGE: library().version}
        self._file_hash = check_file(self.file)
        _check_weights(self.file)
        self._vocabulary = LlamaVocabulary(self.file)
        self.vocab_size = self._vocabulary.size
        self.dtype = self._vocabulary.quantisation
        declared = self._vocabulary.context_tokens
        known = [tokens for tokens in (declared, options.context_tokens) if tokens]
        if not known:
            raise UserError(f"{path}: declares no context length; give --context-tokens")
        self.context_tokens = min(known)
        self._folder = options.tokenizer
        self._tokenizer: Any = None
        if self._folder is not None:
            self._tokenizer = read_tokenizer(self._folder, options.trust_remote_code)
            check_fit(self._tokenizer, self.vocab_size, self._folder)
            self.start_token_id = start_token(self._tokenizer, self._folder)
        else:
            self.start_token_id = self._vocabulary.start_token_id

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the file, and of the tokenizer's files where that is another."""
        if self._folder is None:
            return self._file_hash
        return stable_hash([self._file_hash, tokenizer_fingerprint(self._folder)])

    @property
    def tokenizer_view(self) -> TokenizerView:
        """What the tokenizer would do by itself."""
        if self._tokenizer is None:
            return self._vocabulary
        return TransformersView(self._tokenizer)

    @cached_property
    def frame(self) -> Frame:
        """What the tokenizer puts around a text of its own accord."""
        if self._tokenizer is None:
            return self._vocabulary.frame
        return hf_tokens.frame(self._tokenizer)

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends; "<s>" in a text is text, not the special token."""
        if self._tokenizer is None:
            return self._vocabulary.encode(text)
        return hf_tokens.encode(self._tokenizer, text)

    @cached_property
    def _weights(self) -> LlamaWeights:
        return LlamaWeights(self.file, self.vocab_size)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`. Raises `UserError` for a window beyond the context."""
        for window, first in zip(windows, first_scored, strict=True):
            if not 1 <= first < len(window):
                raise ValueError(f"first_scored {first} must be in 1..{len(window) - 1}")
            if len(window) - 1 > self.context_tokens:
                raise UserError(
                    f"{self.file}: a window of {len(window) - 1} tokens; the context is"
                    f" {self.context_tokens}: score with a shorter window"
                )
        return [
            self._weights.window_nll(window, first)
            for window, first in zip(windows, first_scored, strict=True)
        ]


def _check_weights(path: Path) -> None:
    """Raise `UserError` if the file holds no tensors: one of a vocabulary alone."""
    with open(path, "rb") as stream:
        header = stream.read(16)  # ggml's docs/gguf.md: magic, version, number of tensors
    if len(header) == 16 and int.from_bytes(header[8:], "little") == 0:
        raise UserError(f"{path}: holds a vocabulary and no weights; name the model's own file")
