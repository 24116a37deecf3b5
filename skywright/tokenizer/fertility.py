"""How well a vocabulary compresses: characters and bytes a token, and how often it spells bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skywright.tokenizer.huggingface import FIRST_BYTE_ID
from skywright.tokenizer.tokenizer import Tokenizer

_WHITESPACE = [FIRST_BYTE_ID + byte for byte in b"\n\t\r"]
BATCH = 256


def fertility(tokenizer: Tokenizer, lang: str, texts: Sequence[str]) -> dict[str, Any]:
    """One row: documents, chars, bytes, tokens, and their ratios.

    `byte_fallback_share` is the share of tokens that are byte pieces; newline, tab and carriage
    return are left out of its numerator, because they are bytes by design. The tokenizer must have
    the ids of `train` (bytes at 3 to 258).
    """
    tokens = fallbacks = 0
    for first in range(0, len(texts), BATCH):
        for ids in tokenizer.encode_batch(texts[first : first + BATCH]):
            tokens += len(ids)
            is_byte = (ids >= FIRST_BYTE_ID) & (ids < FIRST_BYTE_ID + 256)
            fallbacks += int(np.count_nonzero(is_byte & ~np.isin(ids, _WHITESPACE)))
    chars = sum(len(text) for text in texts)
    size_bytes = sum(len(text.encode()) for text in texts)
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
