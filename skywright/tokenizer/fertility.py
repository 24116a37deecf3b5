"""How well a vocabulary compresses: characters and bytes a token, and how often it spells bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from skywright.tokenizer.huggingface import FIRST_BYTE_ID
from skywright.tokenizer.tokenizer import Tokenizer

BATCH = 256
WHITESPACE = b"\n\t\r"
"""Bytes by design: left out where byte pieces are counted."""


class Counts(NamedTuple):
    """One number a document, int64 (documents,); `uses` one an id, int64 (vocab_size,).

    `altered` is 1 where decoding did not give the text back (0 where it was not tried).
    """

    chars: np.ndarray
    bytes: np.ndarray
    tokens: np.ndarray
    fallbacks: np.ndarray
    altered: np.ndarray
    uses: np.ndarray


def count(
    encode_batch: Callable[[Sequence[str]], Sequence[np.ndarray]],
    is_fallback: np.ndarray,
    texts: Sequence[str],
    decode: Callable[[np.ndarray], str] | None = None,
) -> Counts:
    """Encode texts and count; `is_fallback`, bool (vocab_size,), says which ids are byte pieces."""
    tokens, fallbacks, altered = [], [], []
    uses = np.zeros(len(is_fallback), np.int64)
    for first in range(0, len(texts), BATCH):
        part = texts[first : first + BATCH]
        encoded = encode_batch(part)
        tokens += [len(ids) for ids in encoded]
        fallbacks += [np.count_nonzero(is_fallback[ids]) for ids in encoded]
        altered += [
            decode is not None and decode(ids) != text
            for ids, text in zip(encoded, part, strict=True)
        ]
        uses += np.bincount(np.concatenate(encoded), minlength=len(uses))
    return Counts(
        chars=np.array([len(text) for text in texts], np.int64),
        bytes=np.array([len(text.encode()) for text in texts], np.int64),
        tokens=np.array(tokens, np.int64),
        fallbacks=np.array(fallbacks, np.int64),
        altered=np.array(altered, np.int64),
        uses=uses,
    )


def fertility(tokenizer: Tokenizer, lang: str, texts: Sequence[str]) -> dict[str, Any]:
    """One row: documents, chars, bytes, tokens, and their ratios.

    `byte_fallback_share` is the share of tokens that are byte pieces; newline, tab and carriage
    return are left out of its numerator, because they are bytes by design. The tokenizer must have
    the ids of `train` (bytes at 3 to 258).
    """
    is_fallback = np.zeros(tokenizer.vocab_size, bool)
    is_fallback[FIRST_BYTE_ID : FIRST_BYTE_ID + 256] = True
    is_fallback[[FIRST_BYTE_ID + byte for byte in WHITESPACE]] = False
    found = count(tokenizer.encode_batch, is_fallback, texts)
    chars, size_bytes = int(found.chars.sum()), int(found.bytes.sum())
    tokens, fallbacks = int(found.tokens.sum()), int(found.fallbacks.sum())
    return {
        "lang": lang,
        "documents": len(texts),
        "chars": chars,
        "bytes": size_bytes,
        "tokens": tokens,
        "chars_per_token": chars / tokens if tokens else None,
        "bytes_per_token": size_bytes / tokens if tokens else None,
        "byte_fallback_share": fallbacks / tokens if tokens else None,
    }
