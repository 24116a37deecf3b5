"""How a document is cut, prefixed and scored: the part of a number that is convention."""

from __future__ import annotations

import unicodedata
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from skywright.config import Config
from skywright.engine.files import stable_hash
from skywright.evaluate.backends import Backend

SCORING_VERSION = 1
"""Raised when the same protocol would give other numbers; it is part of the protocol's hash."""

_ZERO_WIDTH_JOINER = "\u200d"


class Protocol(Config):
    """One convention for the loss of a document.

    The text is cut at `max_chars` (never inside a character as a reader sees it), tokenised, and
    every token is scored, the first one after the start token; EOS is not. A document that does
    not fit the context is scored in windows, each with the start token in front, in which each
    scored token has at least `overlap` of the window before it.
    """

    name: str = "skywright/v1"
    max_chars: int | None = Field(default=None, ge=1, description="None: whole documents")
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="share of a window that is only context"
    )
    max_context_tokens: int = Field(default=4096, ge=2, description="longest window for any model")
    start_token: Literal["bos_or_eos"] = "bos_or_eos"


def _joins_left(text: str, index: int) -> bool:
    """Whether the character at `index` belongs to the one before it.

    The rules of Unicode's extended grapheme clusters (UAX 29, GB3 and GB6 to GB13) that occur in
    Chinese and English pages; Hangul is covered by its medial and final letters.
    """
    before, after = text[index - 1], text[index]
    if before == "\r" and after == "\n":
        return True
    if after == _ZERO_WIDTH_JOINER or before == _ZERO_WIDTH_JOINER:
        return True
    if unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\u1160" <= after <= "\u11ff":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        run = index
        while run > 0 and "\U0001f1e6" <= text[run - 1] <= "\U0001f1ff":
            run -= 1
        return (index - run) % 2 == 1
    return False


def cut_text(text: str, max_chars: int | None) -> str:
    """The first `max_chars` code points, fewer where the cut would split a character."""
    if max_chars is None or len(text) <= max_chars:
        return text
    end = max_chars
    while end > 0 and _joins_left(text, end):
        end -= 1
    return text[:end] if end > 0 else text[:max_chars]


def make_windows(
    tokens: np.ndarray, start_token_id: int, context_tokens: int, overlap: float
) -> tuple[list[np.ndarray], list[int]]:
    """Windows over a document's tokens and the first scored position in each.

    Every token is scored exactly once. A window is the start token and up to
    `context_tokens` - 1 tokens; after the first window each begins far enough to the left that
    it is full, so the context of a scored token is never less than `overlap` of the window.
    """
    room = context_tokens - 1
    step = max(1, room - int(room * overlap))
    windows, first_scored = [], []
    done = 0
    while done < len(tokens):
        end = min(len(tokens), room if done == 0 else done + step)
        begin = max(0, end - room)
        window = np.empty(end - begin + 1, dtype=np.int32)
        window[0] = start_token_id
        window[1:] = tokens[begin:end]
        windows.append(window)
        first_scored.append(done - begin + 1)
        done = end
    return windows, first_scored


def context_of(protocol: Protocol, backend: Backend) -> int:
    """Longest window in tokens that both the protocol and the model allow."""
    return min(protocol.max_context_tokens, backend.context_tokens)


def protocol_record(
    protocol: Protocol, backend: Backend, reference_fingerprint: str
) -> dict[str, Any]:
    """All that decides a document's numbers besides the model and the text."""
    return {
        **protocol.model_dump(),
        "scoring_version": SCORING_VERSION,
        "backend": backend.name,
        "dtype": backend.dtype,
        "context_tokens": context_of(protocol, backend),
        "start_token_id": backend.start_token_id,
        "reference_tokenizer": reference_fingerprint,
        "torch": torch.__version__,
    }


def protocol_hash(protocol: Protocol, backend: Backend, reference_fingerprint: str) -> str:
    """Hex SHA-256 of the protocol as it applies to this back-end."""
    return stable_hash(protocol_record(protocol, backend, reference_fingerprint))
