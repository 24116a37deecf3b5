"""How many bytes of text each id stands for, read from a `tokenizer.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywright.errors import UserError
from skywright.tokenizer.huggingface import SPACE_MARK

_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


def id_bytes(definition: bytes, where: str) -> tuple[NDArray[np.int32], int]:
    """UTF-8 bytes of text behind each id, shape (vocab_size,), and bytes that decoding strips.

    Special tokens stand for none. The second figure is 1 where the tokenizer puts a space before
    every text (LLaMA's) and takes it away again, else 0. Raises UserError for a tokenizer whose
    pieces are neither text with byte pieces nor byte-level.
    """
    told = json.loads(definition)
    kinds = set(_kinds(told.get("decoder")))
    vocabulary = told["model"].get("vocab")
    if not isinstance(vocabulary, dict) or not kinds & {"ByteLevel", "ByteFallback"}:
        raise UserError(
            f"{where}: cannot tell how many bytes its ids stand for: not a BPE vocabulary of bytes"
            " or of text with byte pieces"
        )
    added = {token["content"]: token["id"] for token in told.get("added_tokens", ())}
    size = max(max(vocabulary.values()), *added.values(), 0) + 1
    result = np.zeros(size, dtype=np.int32)
    for piece, number in vocabulary.items():
        if "ByteLevel" in kinds:
            result[number] = len(piece)  # each byte is written as one character
        else:
            text = piece.replace(SPACE_MARK, " ")
            result[number] = 1 if _BYTE.fullmatch(piece) else len(text.encode())
    for token in told.get("added_tokens", ()):
        if token["special"]:
            result[token["id"]] = 0
    return result, int("Strip" in kinds)


def _kinds(decoder: dict[str, Any] | None) -> Iterator[str]:
    if decoder is not None:
        yield decoder["type"]
        for inner in decoder.get("decoders", ()):
            yield from _kinds(inner)
