"""A Hugging Face tokenizer as the evaluation uses it."""

from __future__ import annotations

from typing import Any

import numpy as np

from skywright.evaluate.alignment import Encoding, align

Frame = tuple[tuple[int, ...], tuple[int, ...]]
"""Ids that a tokenizer puts before and behind a text of its own accord."""


def encode(tokenizer: Any, text: str) -> Encoding:
    """The text's tokens, no start or end token; "<s>" in a text is text, not the special token."""
    found = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=tokenizer.is_fast,
        verbose=False,
    )
    ids = found["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    byte_ends, aligned = align(text, pieces, found.get("offset_mapping"))
    back = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return Encoding(np.asarray(ids, dtype=np.int32), byte_ends, back != text, aligned)


def frame(tokenizer: Any) -> Frame:
    """What the tokenizer puts around a text when nobody says anything about special tokens."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for at in range(len(full) - len(bare) + 1):
        if full[at : at + len(bare)] == bare:
            return tuple(full[:at]), tuple(full[at + len(bare) :])
    return (), ()
