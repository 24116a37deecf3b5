"""Our own model, in memory or from a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skywright.checkpoint import load_model
from skywright.evaluate.alignment import Encoding, align
from skywright.evaluate.backends.hf_tokens import Frame
from skywright.evaluate.backends.view import SkywrightView, TokenizerView
from skywright.evaluate.backends.windows import device_kind, padded_batch
from skywright.model.decoder import Decoder
from skywright.model.head import IGNORE
from skywright.tokenizer import Tokenizer


class SkywrightBackend:
    """A `Decoder` as it stands, with the tokenizer that made its training data.

    The weights are read at every call, so the trainer can score the model it is training.
    """

    name = "skywright"
    frame: Frame = ((), ())

    def __init__(
        self, model: Decoder, tokenizer: Tokenizer, dtype: torch.dtype | None = None
    ) -> None:
        """`dtype`: what the model multiplies in, if not its weights' own."""
        self._model = model
        self._tokenizer = tokenizer
        self.vocab_size = model.config.vocab_size
        self.context_tokens = model.config.context_tokens
        self.start_token_id = tokenizer.bos_id
        self.dtype = str(dtype or model.head.weight.dtype).removeprefix("torch.")

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
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device

    @property
    def tokenizer_view(self) -> TokenizerView:
        """What the tokenizer would do by itself."""
        return SkywrightView(self._tokenizer)

    @property
    def device_kind(self) -> str:
        """Where the weights lie: "cpu" or the GPU's name."""
        return device_kind(self._device)

    def encode(self, text: str) -> Encoding:
        """The text's tokens and where each ends."""
        ids, pieces = self._tokenizer.encode(text), self._tokenizer.pieces
        byte_ends, aligned = align(text, [pieces[i] for i in ids])
        return Encoding(ids, byte_ends, self._tokenizer.decode(ids) != text, aligned)

    def token_nll(
        self, windows: Sequence[np.ndarray], first_scored: Sequence[int]
    ) -> list[np.ndarray]:
        """See `Backend.token_nll`."""
        ids, labels = labelled(windows, first_scored, self._device)
        with torch.no_grad(), self._model.evaluating():
            losses = self._model.head.token_losses(self._model(ids), labels)
        return unlabelled(losses[labels != IGNORE].cpu().numpy(), windows, first_scored)


def labelled(
    windows: Sequence[np.ndarray], first_scored: Sequence[int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the model reads of the windows and their labels, int64 (windows, longest - 1).

    A label is the token behind a position where that is scored, else IGNORE.
    """
    ids = padded_batch(windows, device)
    labels = torch.full(ids.shape, IGNORE)
    for row, (window, first) in enumerate(zip(windows, first_scored, strict=True)):
        if not 1 <= first < len(window):
            raise ValueError(f"first_scored {first} must be in 1..{len(window) - 1}")
        labels[row, first - 1 : len(window) - 1] = torch.from_numpy(np.asarray(window[first:]))
    return ids, labels.to(device)


def unlabelled(
    losses: np.ndarray, windows: Sequence[np.ndarray], first_scored: Sequence[int]
) -> list[np.ndarray]:
    """The losses of all scored positions, one after another, by window."""
    counts = [len(w) - first for w, first in zip(windows, first_scored, strict=True)]
    return np.split(losses, np.cumsum(counts)[:-1])
