"""`tokenizer.json` written from a SentencePiece BPE model, so that both give the same ids.

SentencePiece merges, again and again, the adjacent pair whose joined piece has the highest score,
the leftmost first. Hugging Face's BPE merges the pair of lowest rank, the leftmost first. Listing
every way to split every piece into two pieces, in order of the joined piece's score, makes the two
the same. Spaces stand in this file as spaces, not as SentencePiece's mark U+2581: a U+2581 in a
text then falls back to its bytes and comes back as itself.
"""

from __future__ import annotations

import json
import re
from typing import Any

import sentencepiece

SPACE_MARK = "▁"
UNK, BOS, EOS = "<unk>", "<s>", "</s>"
SPECIALS = (UNK, BOS, EOS)
"""Ids 0, 1 and 2, as in LLaMA."""
FIRST_BYTE_ID = len(SPECIALS)
"""Ids 3 to 258 are the 256 bytes in order, as in LLaMA."""

WORD = r"\n| *[^ \n]+| +"
"""Where a text may be split before merging: no piece holds a newline beside another character, or
a space behind another character. `tokenizer_json` checks both."""


def byte_piece(value: int) -> str:
    """SentencePiece's name of a byte, such as <0x0A>."""
    return f"<0x{value:02X}>"


def vocabulary(model: sentencepiece.SentencePieceProcessor) -> list[str]:
    """The pieces in order of id, with real spaces."""
    pieces = [model.IdToPiece(i) for i in range(model.GetPieceSize())]
    return [piece.replace(SPACE_MARK, " ") for piece in pieces]


def merges(model: sentencepiece.SentencePieceProcessor) -> list[tuple[str, str]]:
    """Every pair of pieces that joins to a piece, by falling score of that piece.

    Splits of one piece are ordered with the longer left part first; they compete only inside a
    repeated pattern, where the longer part was made first, on the left.
    """
    pieces = vocabulary(model)
    normal = {pieces[i]: i for i in range(FIRST_BYTE_ID + 256, len(pieces))}
    found = []
    for piece, index in normal.items():
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in normal and right in normal:
                found.append((-model.GetScore(index), -cut, left, right))
    found.sort()
    return [(left, right) for _, _, left, right in found]


def tokenizer_json(model: sentencepiece.SentencePieceProcessor) -> str:
    """The text of `tokenizer.json`. Raises `ValueError` if the model was not trained by `train`."""
    pieces = vocabulary(model)
    expected = [*SPECIALS, *(byte_piece(value) for value in range(256))]
    if pieces[: len(expected)] != expected:
        raise ValueError("the model's first ids are not <unk>, <s>, </s> and the 256 bytes")
    if len(set(pieces)) != len(pieces):
        raise ValueError("two pieces of the model read the same")
    for piece in pieces[len(expected) :]:
        if len(re.findall(WORD, piece)) != 1:
            raise ValueError(f"the piece {piece!r} crosses the edge of a word")
    special: dict[str, Any] = {"single_word": False, "lstrip": False, "rstrip": False}
    special |= {"normalized": False, "special": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, **special} for i, token in enumerate(SPECIALS)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": WORD},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNK,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [list(pair) for pair in merges(model)],
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def tokenizer_config() -> dict[str, Any]:
    """`tokenizer_config.json`: nothing is added to a text, and a literal "<s>" in it is text."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": UNK,
        "bos_token": BOS,
        "eos_token": EOS,
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,
    }
