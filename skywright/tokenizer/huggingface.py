"""`tokenizer.json` written from a SentencePiece BPE model, so that both give the same ids.

SentencePiece merges, again and again, the adjacent pair whose joined piece has the highest score,
the leftmost first. Hugging Face's BPE merges the pair of lowest rank, the leftmost first. Listing
every way to split every piece into two pieces, in order of the joined piece's score, makes the two
the same.

There are two forms. A model that puts a space before a text (LLaMA's) is written as LLaMA's own
file: U+2581 stands for a space, and decoding takes the first space away. A model that does not
(ours) is written with real spaces: a U+2581 in a text then falls back to its bytes and comes back
as itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import sentencepiece

from skywright.tokenizer.model_file import BPE, ModelFile, Piece, PieceType

SPACE_MARK = "▁"
UNK, BOS, EOS = "<unk>", "<s>", "</s>"
SPECIALS = (UNK, BOS, EOS)
"""Ids 0, 1 and 2, as in LLaMA."""
FIRST_BYTE_ID = len(SPECIALS)
"""Ids 3 to 258 are the 256 bytes in order, as in LLaMA."""
FIRST_NORMAL_ID = FIRST_BYTE_ID + 256

WORD = r"\n| *[^ \n]+| +"
"""Where a text may be split before merging: no piece holds a newline beside another character, or
a space behind another character. `tokenizer_json` checks both."""


def byte_piece(value: int) -> str:
    """SentencePiece's name of a byte, such as <0x0A>."""
    return f"<0x{value:02X}>"


def reserved_piece(number: int) -> str:
    """Name of a reserved symbol: a control piece, which no text makes."""
    return f"<|reserved_{number}|>"


def reserved_pieces(model: ModelFile, count: int) -> list[Piece]:
    """`count` reserved symbols for the end of a model, numbered on from those it has.

    They come last, not behind the bytes, so that every other id is the same with and without them
    and so that trained and extended vocabularies have one layout.
    """
    first = sum(piece.type == PieceType.CONTROL for piece in model.pieces[FIRST_NORMAL_ID:])
    names = (reserved_piece(number) for number in range(first, first + count))
    return [Piece(name, 0.0, PieceType.CONTROL) for name in names]


def vocabulary(model: sentencepiece.SentencePieceProcessor) -> list[str]:
    """The pieces in order of id, with real spaces."""
    pieces = [model.IdToPiece(i) for i in range(model.GetPieceSize())]
    return [piece.replace(SPACE_MARK, " ") for piece in pieces]


def merges(scores: dict[str, float]) -> list[tuple[str, str]]:
    """Every pair of pieces that joins to a piece, by falling score of that piece.

    `scores` holds the pieces that merges make. Splits of one piece are ordered with the longer
    left part first; they compete only inside a repeated pattern, where the longer part was made
    first, on the left. The same order serves runs of one character that share a score (LLaMA's
    runs of spaces): SentencePiece then lets the leftmost run grow to its end.
    """
    found = []
    for piece, score in scores.items():
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in scores and right in scores:
                found.append((-score, -cut, left, right))
    found.sort()
    return [(left, right) for _, _, left, right in found]


def check(model: ModelFile) -> None:
    """Raise `ValueError` if `tokenizer_json` cannot give the same ids as this model."""
    texts = [piece.text for piece in model.pieces]
    if model.model_type != BPE or not model.byte_fallback:
        raise ValueError("the model is no BPE with byte fallback")
    if model.charsmap or model.remove_extra_whitespaces or not model.escape_whitespaces:
        raise ValueError("the model changes a text before cutting it")
    if model.whitespace_as_suffix:
        raise ValueError("the model puts the mark of a space behind a word")
    if texts[:FIRST_NORMAL_ID] != [*SPECIALS, *(byte_piece(value) for value in range(256))]:
        raise ValueError("the model's first ids are not <unk>, <s>, </s> and the 256 bytes")
    if len(set(texts)) != len(texts):
        raise ValueError("two pieces of the model read the same")
    by_score: dict[float, str] = {}
    for piece in model.pieces[FIRST_NORMAL_ID:]:
        if piece.type not in (PieceType.NORMAL, PieceType.CONTROL):
            raise ValueError(f"the piece {piece.text!r} is {piece.type.name.lower()}")
        if piece.type == PieceType.CONTROL or len(piece.text) == 1:
            continue
        other = by_score.setdefault(piece.score, piece.text)
        if other != piece.text and len(set(other + piece.text)) > 1:
            raise ValueError(f"the pieces {other!r} and {piece.text!r} have one score")


def normal_scores(model: ModelFile) -> dict[str, float]:
    """Score of every piece that merges make."""
    normal = model.pieces[FIRST_NORMAL_ID:]
    return {piece.text: piece.score for piece in normal if piece.type == PieceType.NORMAL}


def tokenizer_json(model: ModelFile) -> str:
    """The text of `tokenizer.json`. Raises `ValueError` as `check` does."""
    check(model)
    scores = normal_scores(model)
    names = [piece.text for piece in model.pieces]
    if not model.dummy_prefix:
        scores = {text.replace(SPACE_MARK, " "): score for text, score in scores.items()}
        names = [name.replace(SPACE_MARK, " ") for name in names]
        for piece in scores:
            if len(re.findall(WORD, piece)) != 1:
                raise ValueError(f"the piece {piece!r} crosses the edge of a word")
    control = {i for i, piece in enumerate(model.pieces) if piece.type == PieceType.CONTROL}
    special: dict[str, Any] = {"single_word": False, "lstrip": False, "rstrip": False}
    special |= {"normalized": False, "special": True}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": names[i], **special} for i in sorted({0} | control)],
        **(_llama_form() if model.dummy_prefix else _plain_form()),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": UNK,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(names)},
            "merges": [list(pair) for pair in merges(scores)],
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _plain_form() -> dict[str, Any]:
    """Real spaces; nothing is put before a text."""
    pattern = {"Regex": WORD}
    split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
    return {
        "normalizer": None,
        "pre_tokenizer": split,
        "post_processor": None,
        "decoder": _sequence("decoders", [{"type": "ByteFallback"}, {"type": "Fuse"}]),
    }


def _llama_form() -> dict[str, Any]:
    """U+2581 for a space and one before a text, and no split before merging: as in LLaMA's file."""
    to_mark: list[dict[str, Any]] = [
        {"type": "Prepend", "prepend": SPACE_MARK},
        {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK},
    ]
    to_space: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    return {
        "normalizer": _sequence("normalizers", to_mark),
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": _sequence("decoders", to_space),
    }


def _sequence(key: str, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "Sequence", key: list(parts)}


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
