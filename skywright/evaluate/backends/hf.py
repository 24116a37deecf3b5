"""Any causal language model in a local Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from torch import Tensor

from skywright.errors import UserError
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import hf_tokens
from skywright.evaluate.backends.fingerprint import folder_fingerprint
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.windows import (
    device_kind,
    linear_losses,
    windows_losses,
    windows_nll,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class HFBackend:
    """A folder that `AutoModelForCausalLM` and `AutoTokenizer` load without any code of its own.

    Configuration and tokenizer are read at once, the weights when the first window is scored.
    Raises `UserError` if the folder is incomplete or has neither BOS nor EOS.
    """

    name = "transformers"

    def __init__(self, path: Path, device: str = "cpu", dtype: str = "float32") -> None:
        self.path = Path(path)
        self.device = device
        if dtype not in DTYPES:
            raise UserError(f"dtype {dtype!r}: choose one of {', '.join(DTYPES)}")
        self.dtype = dtype
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise UserError(
                f"device {device!r}: torch cannot use it here ({str(error).splitlines()[0]});"
                " name cpu, or a device that this machine has"
            ) from None
        try:
            self._config: Any = transformers.AutoConfig.from_pretrained(
                self.path, local_files_only=True, trust_remote_code=False
            )
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                self.path, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.path}: transformers cannot read this model ({error}); a folder with"
                " config.json, tokenizer files and *.safetensors is needed"
            ) from None
        text_config = self._config.get_text_config()
        self.vocab_size: int = text_config.vocab_size
        context = getattr(text_config, "max_position_embeddings", None)
        if context is None:
            raise UserError(f"{self.path}/config.json, max_position_embeddings: missing; add it")
        self.context_tokens: int = context
        start = self._tokenizer.bos_token_id
        if start is None:
            start = self._tokenizer.eos_token_id
        if start is None:
            raise UserError(f"{self.path}: the tokenizer has neither BOS nor EOS; declare one")
        self.start_token_id: int = start

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the folder's files."""
        return folder_fingerprint(self.path)

    @cached_property
    def frame(self) -> Frame:
        """What the tokenizer puts around a text of its own accord."""
        return hf_tokens.frame(self._tokenizer)

    @property
    def device_kind(self) -> str:
        """What computes: "cpu" or the GPU's name."""
        return device_kind(torch.device(self.device))

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends; "<s>" in a text is text, not the special token."""
        return hf_tokens.encode(self._tokenizer, text)

    @cached_property
    def _model(self) -> Any:
        folder_has_weights = any(self.path.glob("*.safetensors"))
        if not folder_has_weights:
            raise UserError(f"{self.path}: no *.safetensors weights; save the model with them")
        # Its bar would run across the caller's own progress.
        transformers.utils.logging.disable_progress_bar()
        try:
            model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                self.path,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=DTYPES[self.dtype],
            )
        except (OSError, ValueError, SafetensorError) as error:
            raise UserError(
                f"{self.path}: transformers cannot read the weights ({error}); copy or export"
                " the model again"
            ) from None
        rows = model.get_output_embeddings().weight.shape[0]
        if rows != self.vocab_size:
            raise UserError(
                f"{self.path}: config.json says vocab_size {self.vocab_size}, the weights have"
                f" {rows} rows; the files are of two models"
            )
        return model.eval().to(self.device)

    @cached_property
    def _head(self) -> tuple[Tensor, Tensor | None] | None:
        """Output weight and bias, or None if logits are more than a product with them.

        Some models scale or cap their logits. A short probe shows it; then the model's own
        logits are taken.
        """
        head = self._model.get_output_embeddings()
        bias = getattr(head, "bias", None)
        ids = (torch.arange(8, device=self.device) % self.vocab_size)[None]
        with torch.inference_mode():
            logits = self._model(input_ids=ids, use_cache=False).logits.float()
            states = self._states(ids)
            if states.shape[-1] != head.weight.shape[1]:
                return None
            product = F.linear(states, head.weight, bias).float()
        # bf16 keeps 8 bits: two orders of summation may differ by 2^-8 of the largest logit.
        tolerance = 1e-2 * logits.abs().max()
        if (product - logits).abs().max() > tolerance:
            return None
        return head.weight.detach(), None if bias is None else bias.detach()

    def _states(self, ids: Tensor) -> Tensor:
        return self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`."""
        head = self._head
        if head is None:
            return windows_nll(
                lambda ids: self._model(input_ids=ids, use_cache=False).logits,
                lambda logits: logits.float(),
                windows,
                first_scored,
                self.device,
            )
        return windows_losses(
            self._states,
            lambda rows, labels: linear_losses(rows, *head, labels),
            windows,
            first_scored,
            self.device,
        )
