"""Our own model, in memory or from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from skywright.checkpoint import load_model
from skywright.evaluate.alignment import Encoding, align
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.view import SkywrightView, TokenizerView
from skywright.evaluate.backends.windows import device_kind, windows_nll
from skywright.model.decoder import Decoder
from skywright.tokenizer import Tokenizer


class SkywrightBackend:
    """A `Decoder` as it stands, with the tokenizer that made its training data.

    The weights are read at every call, so the trainer can score the model it is training.
    """

    name = "skywright"
    frame: Frame = ((), ())

    def __init__(self, model: Decoder, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self.vocab_size = model.config.vocab_size
        self.context_tokens = model.config.context_tokens
        self.start_token_id = tokenizer.bos_id
        self.dtype = str(model.head.weight.dtype).removeprefix("torch.")

    @classmethod
    def from_checkpoint(cls, path: Path, tokenizer: Tokenizer | None = None) -> SkywrightBackend:
        """The model in a training checkpoint or a Hugging Face folder, in fp32.

        tokenizer: None takes the one that lies in the folder. Raises `UserError` if either is
        missing.
        """
        return cls(load_model(path), tokenizer or Tokenizer.load(path))

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of shape, weights and tokenizer, as they are when it is first asked for."""
        digest = hashlib.sha256(self._model.config.model_dump_json().encode())
        digest.update(self._tokenizer.fingerprint.encode())
        for name, tensor in sorted(self._model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def tokenizer_view(self) -> TokenizerView:
        """What the tokenizer would do by itself."""
        return SkywrightView(self._tokenizer)

    @property
    def device_kind(self) -> str:
        """Where the weights lie: "cpu" or the GPU's name."""
        return device_kind(self._model.head.weight.device)

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends."""
        ids, pieces = self._tokenizer.encode(text), self._tokenizer.pieces
        byte_ends, aligned = align(text, [pieces[i] for i in ids])
        return Encoding(ids, byte_ends, self._tokenizer.decode(ids) != text, aligned)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`."""
        weight = self._model.head.weight.detach().float()
        with self._model.without_dropout():
            return windows_nll(
                self._model,
                lambda states: F.linear(states.float(), weight),
                windows,
                first_scored,
                weight.device,
            )
