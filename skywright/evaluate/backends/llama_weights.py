"""The weights of a GGUF file, and the losses of windows by llama.cpp's own arithmetic."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skywright.errors import UserError
from skywright.evaluate.backends.llama_library import library
from skywright.evaluate.backends.windows import CHUNK_ROWS

_LEAST_CONTEXT = 256
"""Cells of a key-value cache: llama.cpp rounds up to these."""


class LlamaWeights:
    """A GGUF file's model on the processor.

    The key-value cache is fp32 (llama.cpp's default is fp16) and attention is not fused: what is
    left of rounding is the blocks' own. Raises `UserError` if llama.cpp cannot read the file, finds
    values in it that are no numbers, or it is no model that reads from left to right.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        self.path, self._vocab_size = path, vocab_size
        self._llama = library().functions
        self._model = library().load(path, check_tensors=True)
        weakref.finalize(self, self._llama.llama_model_free, self._model)
        if self._llama.llama_model_has_encoder(self._model) or self._llama.llama_model_is_diffusion(
            self._model
        ):
            raise UserError(
                f"{path}: has an encoder, or fills in masks; documents are scored by models that"
                " only read from left to right"
            )
        self._context: Any = None
        self._cells = 0
        self._free_context: Callable[[], object] = lambda: None

    def _context_of(self, tokens: int) -> Any:
        """An empty context for so many tokens.

        Its size, which decides the rotary factors of some models, is the next power of two: a
        function of the window alone, whatever came before it.
        """
        cells = max(_LEAST_CONTEXT, 1 << (tokens - 1).bit_length())
        if cells != self._cells:
            self._free_context()
            self._context = self._new_context(cells)
            # Finalizers run in the reverse of their order: a context goes before its model.
            self._free_context = weakref.finalize(self, self._llama.llama_free, self._context)
            self._cells = cells
        self._llama.llama_memory_clear(self._llama.llama_get_memory(self._context), True)
        return self._context

    def _new_context(self, cells: int) -> Any:
        asked = self._llama.llama_context_default_params()
        asked.n_ctx = cells
        asked.n_batch = asked.n_ubatch = CHUNK_ROWS
        asked.n_threads = asked.n_threads_batch = torch.get_num_threads()
        asked.type_k = asked.type_v = self._llama.GGML_TYPE_F32
        asked.flash_attn_type = self._llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        asked.offload_kqv = asked.op_offload = False
        library().told()
        context = self._llama.llama_init_from_model(self._model, asked)
        if not context:
            raise UserError(
                f"{self.path}: llama.cpp cannot make a context of {cells} tokens"
                f" ({library().told()}); give less with --context-tokens"
            )
        return context

    def window_nll(self, window: np.ndarray, first: int) -> np.ndarray:
        """-ln p of each token from `first` on, float32; see `Backend.token_nll`.

        Raises `UserError` if llama.cpp does not compute it.
        """
        labels = torch.from_numpy(np.asarray(window[first:], dtype=np.int64))
        losses = torch.empty(len(labels), dtype=torch.float32)
        done = 0
        for logits in self._logits(window[:-1], first - 1):
            here = slice(done, done + len(logits))
            picked = logits.gather(-1, labels[here, None]).squeeze(-1)
            losses[here] = logits.logsumexp(-1) - picked
            done += len(logits)
        return losses.numpy()

    def _logits(self, ids: np.ndarray, first: int) -> Iterator[torch.Tensor]:
        """Logits behind each token from `first` on, fp32 (at most CHUNK_ROWS, vocabulary).

        They are llama.cpp's own memory and hold until the next are asked for.
        """
        tokens = np.ascontiguousarray(ids, dtype=np.int32)
        wanted = (np.arange(len(tokens)) >= first).astype(np.int8)
        context = self._context_of(len(tokens))
        for start in range(0, len(tokens), CHUNK_ROWS):
            part, asked = (each[start : start + CHUNK_ROWS] for each in (tokens, wanted))
            # Without positions and sequences llama.cpp counts on in its one sequence.
            batch = self._llama.llama_batch(
                n_tokens=len(part),
                token=part.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
                logits=asked.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
            )
            library().told()
            failed = self._llama.llama_decode(context, batch)
            rows = int(asked.sum())
            found = self._llama.llama_get_logits(context) if rows and not failed else None
            if failed or (rows and not found):
                raise UserError(
                    f"{self.path}: llama.cpp gives no logits for a window of {len(tokens)} tokens"
                    f" ({library().told()}); give less with --context-tokens, or score another way"
                )
            if rows:
                yield torch.from_numpy(np.ctypeslib.as_array(found, (rows, self._vocab_size)))
