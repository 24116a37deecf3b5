"""Our own protocol: every token is scored, the first one too, each with enough context."""

from __future__ import annotations

import unicodedata
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from skywright.config import Config
from skywright.evaluate.protocols.shape import ModelTerms, Ratio, Window, bits_over

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

    unit: ClassVar[str] = "bits per byte"
    follows_frame: ClassVar[bool] = False
    joins_documents: ClassVar[bool] = False

    def cut(self, text: str) -> str:
        """The part of a document that is scored."""
        return cut_text(text, self.max_chars)

    def windows(self, ids: np.ndarray, terms: ModelTerms) -> list[Window]:
        """See `make_windows`; a window is at most as long as protocol and model allow."""
        context = min(self.max_context_tokens, terms.context_tokens)
        made = make_windows(ids, terms.start_token_id, context, self.overlap)
        sizes = [len(window) - first for window, first in zip(*made, strict=True)]
        starts = np.cumsum([0, *sizes]).tolist()
        return [Window(*parts) for parts in zip(*made, starts[:-1], strict=True)]

    def ratio(self, table: pa.Table) -> Ratio:
        """Sum of losses in bits / sum of UTF-8 bytes."""
        return bits_over(table, "bytes")


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
