"""Short windows over sample texts, and their losses in one composition or another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skywright.errors import UserError
from skywright.evaluate.backends import Backend

WINDOW_TOKENS = 512
"""Longest window of a sample: every check but that of the context is about short documents."""


def ids_of(backend: Backend, text: str) -> np.ndarray:
    """Token ids of a text, int, one dimension."""
    return backend.encode(text).ids


@dataclass(frozen=True)
class Sample:
    """Texts, their tokens (cut to one window each) and a model that has not been trusted yet."""

    backend: Backend
    texts: tuple[str, ...]
    tokens: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, backend: Backend, texts: Sequence[str]) -> Sample:
        """Encode the texts; those with less than two tokens are left out.

        Raises `UserError` if fewer than two are left.
        """
        room = min(WINDOW_TOKENS, backend.context_tokens) - 1
        pairs = [(text, ids_of(backend, text)[:room]) for text in texts]
        kept = [(text, ids) for text, ids in pairs if len(ids) >= 2]
        if len(kept) < 2:
            raise UserError("texts to examine a model on: fewer than two have tokens; give others")
        return cls(backend, tuple(text for text, _ in kept), tuple(ids for _, ids in kept))

    def windows(self, start: int | None) -> list[np.ndarray]:
        """One window a text, with this start token in front, or none."""
        front = [] if start is None else [start]
        return [np.asarray([*front, *ids], dtype=np.int32) for ids in self.tokens]

    @cached_property
    def alone(self) -> list[np.ndarray]:
        """Losses of every text's tokens, each text in a batch of its own."""
        return [
            self.backend.token_nll([window], [1])[0]
            for window in self.windows(self.backend.start_token_id)
        ]

    @cached_property
    def together(self) -> list[np.ndarray]:
        """The same losses from one batch of all texts, short ones among long ones."""
        windows = self.windows(self.backend.start_token_id)
        return self.backend.token_nll(windows, [1] * len(windows))

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each text, int64."""
        return np.asarray([len(ids) for ids in self.tokens], dtype=np.int64)


def per_document(losses: Sequence[np.ndarray]) -> np.ndarray:
    """Each text's sum in nats, float64."""
    return np.asarray([loss.sum(dtype=np.float64) for loss in losses])
