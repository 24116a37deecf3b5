"""The tokenizer of a GGUF file as llama.cpp itself runs it."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding, align_bytes
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.llama_library import library

_TEXT_BYTES = 4096  # of a value of the metadata; those that are asked for are names and numbers


class LlamaVocabulary:
    """A GGUF file's vocabulary and metadata; its weights are not read.

    It is a `TokenizerView` too. llama.cpp has no question for the unknown token: a text with one
    does not come back from its tokens. Raises `UserError` if llama.cpp cannot read the file.
    """

    unk_id = None
    padding_side = "right"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._llama = library().functions
        self._model = library().load(path, vocab_only=True)
        weakref.finalize(self, self._llama.llama_model_free, self._model)
        self._vocabulary = self._llama.llama_model_get_vocab(self._model)
        self.size: int = self._llama.llama_vocab_n_tokens(self._vocabulary)
        self.bos_id = self._special(self._llama.llama_vocab_bos(self._vocabulary))
        self.eos_id = self._special(self._llama.llama_vocab_eos(self._vocabulary))
        self._bytes: dict[int, bytes] = {}

    @staticmethod
    def _special(token: int) -> int | None:
        return token if token >= 0 else None  # llama.h: LLAMA_TOKEN_NULL is -1

    def metadata(self, key: str) -> str | None:
        """The file's value for this key as text; None if it has none."""
        text = ctypes.create_string_buffer(_TEXT_BYTES)
        size = self._llama.llama_model_meta_val_str(self._model, key.encode(), text, _TEXT_BYTES)
        return text.value.decode(errors="replace") if size >= 0 else None

    @property
    def context_tokens(self) -> int | None:
        """The context that the file declares."""
        declared = self.metadata(f"{self.metadata('general.architecture')}.context_length")
        return int(declared) if declared else None

    @property
    def quantisation(self) -> str:
        """The file's own name for the type of most of its blocks, such as "Q4_1"."""
        kind = self.metadata("general.file_type")
        if kind is None:
            return "undeclared"
        name: bytes = self._llama.llama_ftype_name(int(kind))
        return name.decode()

    @property
    def start_token_id(self) -> int:
        """BOS, or EOS where there is no BOS; `UserError` where there is neither."""
        for start in (self.bos_id, self.eos_id):
            if start is not None:
                return start
        raise UserError(f"{self.path}: the tokenizer has neither BOS nor EOS; declare one")

    def _ids(self, text: str, add_special: bool) -> np.ndarray:
        """int32 ids; a special token that is spelled in the text is text."""
        data = text.encode()
        ids = np.empty(len(data) + 8, dtype=np.int32)  # at least a byte each, and those around
        pointer = ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
        count = self._llama.llama_tokenize(
            self._vocabulary, data, len(data), pointer, len(ids), add_special, False
        )
        if count < 0:
            raise UserError(
                f"{self.path}: llama.cpp's tokenizer makes {-count} tokens of {len(data)} bytes;"
                " name the model's tokenizer with --tokenizer"
            )
        return ids[:count].copy()

    def _bytes_of(self, token: int) -> bytes:
        """What a token stands for; a special one for how it is spelled."""
        if token not in self._bytes:
            size = 64
            while True:
                piece = ctypes.create_string_buffer(size)
                count = self._llama.llama_token_to_piece(
                    self._vocabulary, token, piece, size, 0, True
                )
                if count >= 0:
                    break
                size = -count
            self._bytes[token] = piece.raw[:count]
        return self._bytes[token]

    @cached_property
    def _adds_space(self) -> bool:
        """Whether the tokenizer puts a space before every text."""
        return b"".join(self._bytes_of(int(i)) for i in self._ids("a", False)) == b" a"

    @cached_property
    def frame(self) -> Frame:
        """What the tokenizer puts around a text of its own accord."""
        bare, full = (self._ids("a", special).tolist() for special in (False, True))
        for at in range(len(full) - len(bare) + 1):
            if full[at : at + len(bare)] == bare:
                return tuple(full[:at]), tuple(full[at + len(bare) :])
        return (), ()

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends; no start or end token."""
        ids = self._ids(text, False)
        parts = [self._bytes_of(token) for token in ids.tolist()]
        byte_ends, aligned = align_bytes(text.encode(), parts)
        return Encoding(ids, byte_ends, self.decode(ids.tolist()) != text, aligned)

    def decode(self, ids: Sequence[int]) -> str:
        """See `TokenizerView.decode`. The space that is put before every text is taken off."""
        text = b"".join(self._bytes_of(int(i)) for i in ids).decode(errors="replace")
        return text[1:] if self._adds_space and text.startswith(" ") else text

    def encode_by_default(self, text: str) -> list[int]:
        """See `TokenizerView.encode_by_default`."""
        found: list[int] = self._ids(text, True).tolist()
        return found
