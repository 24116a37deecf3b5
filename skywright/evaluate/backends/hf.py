"""Any causal language model in a local Hugging Face folder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from skywright.engine.files import stable_hash
from skywright.evaluate.alignment import Encoding
from skywright.evaluate.backends import hf_tokens
from skywright.evaluate.backends.attention import use_blocked_attention
from skywright.evaluate.backends.fingerprint import folder_fingerprint, tokenizer_fingerprint
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.layers import join
from skywright.evaluate.backends.loading import (
    SPREAD,
    check_device,
    check_dtype,
    check_fit,
    context_of,
    load_weights,
    read_config,
    read_tokenizer,
    start_token,
)
from skywright.evaluate.backends.packed import pack
from skywright.evaluate.backends.view import TokenizerView, TransformersView
from skywright.evaluate.backends.windows import (
    device_kind,
    linear_losses,
    vocabulary_blocks,
    windows_losses,
    windows_nll,
)


class HFBackend:
    """A folder that `AutoModelForCausalLM` and `AutoTokenizer` load.

    device: as torch names it, or "auto" for all there are. tokenizer: its folder, if it is not
    this one. trust_remote_code: run Python files that lie in the folder. context_tokens: a
    shorter window than the model declares, or the window if it declares none. Configuration and
    tokenizer are read at once, the weights when the first window is scored. Raises `UserError`
    if the folder is incomplete, or has neither BOS nor EOS, or a tokenizer of another model.
    """

    name = "transformers"

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        dtype: str = "float32",
        tokenizer: Path | None = None,
        trust_remote_code: bool = False,
        context_tokens: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.dtype = check_dtype(dtype)
        self.device = check_device(device)
        self._trusts = trust_remote_code
        self._tokenizer_path = Path(tokenizer or path)
        config = read_config(self.path, trust_remote_code)
        self._tokenizer = read_tokenizer(self._tokenizer_path, trust_remote_code)
        self.vocab_size: int = config.get_text_config().vocab_size
        self.context_tokens = context_of(config, context_tokens, self.path)
        self.start_token_id = start_token(self._tokenizer, self._tokenizer_path)
        check_fit(self._tokenizer, self.vocab_size, self.path)

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the folder's files, and of the tokenizer's where that lies elsewhere."""
        weights = folder_fingerprint(self.path, code=self._trusts)
        if self._tokenizer_path == self.path:
            return weights
        return stable_hash([weights, tokenizer_fingerprint(self._tokenizer_path)])

    @property
    def tokenizer_view(self) -> TokenizerView:
        """What the tokenizer would do by itself."""
        return TransformersView(self._tokenizer)

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
        model = load_weights(self.path, self.dtype, self.device, self._trusts)
        use_blocked_attention(model)
        # Spread over devices, the model takes its ids and gives its logits where the head is.
        spread, self.device = (
            self.device == SPREAD,
            str(model.get_output_embeddings().weight.device),
        )
        if not spread and model.base_model is not model:  # else the output layer would be packed
            ids = self._probe_ids
            pack(model.base_model, lambda: model.base_model(input_ids=ids, use_cache=False))
            join(model.base_model)
        return model

    @property
    def _probe_ids(self) -> Tensor:
        return (torch.arange(8, device=self.device) % self.vocab_size)[None]

    @cached_property
    def _head(self) -> tuple[list[Tensor], Tensor | None] | None:
        """Output weight by blocks and bias, or None if logits are more than a product with them.

        Some models scale or cap their logits. A short probe shows it; then the model's own
        logits are taken.
        """
        head = self._model.get_output_embeddings()
        bias = None if getattr(head, "bias", None) is None else head.bias.detach()
        ids = self._probe_ids
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
        return vocabulary_blocks(head.weight), bias

    def _states(self, ids: Tensor) -> Tensor:
        return self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state.to(
            self.device
        )

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
