"""Which bytes of a text each token stands for, and the loss of every byte.

Two models cut a text into different tokens; its bytes are the same for both. So a token's loss is
laid on the bytes that the token covers, and then two models can be compared at the same place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_SPACE_MARK = "\u2581"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _byte_symbols() -> dict[str, bytes]:
    """The 256 characters in which byte-level BPE (GPT-2's) writes bytes.

    A printable Latin-1 character stands for its own code; the other 68 bytes, in order, have the
    characters from U+0100 on.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(own))
    symbols = {chr(byte): bytes([byte]) for byte in own}
    return symbols | {chr(256 + place): bytes([byte]) for place, byte in enumerate(others)}


_SYMBOLS = _byte_symbols()
_PIECES_KEPT = 1 << 19  # the largest vocabularies have about 260,000 pieces


@dataclass(frozen=True)
class Encoding:
    """A text as a tokenizer cuts it.

    ids int32 (tokens,). byte_ends int64 (tokens,): the UTF-8 byte of the text where each token
    ends; never falling, the last is the size of the text. A piece of a character ends inside it;
    a token without text (a space put before every text, a special token) ends where it begins.
    lossy: decoding the ids does not give the text back. aligned: False if nothing says which
    bytes the tokens stand for; they then share the text evenly.
    """

    ids: np.ndarray
    byte_ends: np.ndarray
    lossy: bool = False
    aligned: bool = True

    def framed(self, before: Sequence[int], behind: Sequence[int]) -> Encoding:
        """The same with ids that stand for no text before and behind it."""
        if not before and not behind:
            return self
        size = self.byte_ends[-1] if len(self.byte_ends) else 0
        return Encoding(
            np.concatenate([before, self.ids, behind]).astype(np.int32),
            np.concatenate([np.zeros(len(before)), self.byte_ends, np.full(len(behind), size)])
            .astype(np.int64),
            self.lossy,
            self.aligned,
        )  # fmt: skip


@lru_cache(_PIECES_KEPT)
def _byte_level(piece: str) -> bytes:
    return b"".join(_SYMBOLS.get(char) or char.encode() for char in piece)


@lru_cache(_PIECES_KEPT)
def _marked_spaces(piece: str) -> bytes:
    named = _BYTE_PIECE.fullmatch(piece)
    return bytes.fromhex(named[1]) if named else piece.replace(_SPACE_MARK, " ").encode()


def align(
    text: str, pieces: Sequence[str], offsets: Sequence[tuple[int, int]] | None = None
) -> tuple[np.ndarray, bool]:
    """Where each token ends in the UTF-8 bytes of the text, and whether that is known.

    pieces: the tokens as the vocabulary writes them, in GPT-2's alphabet of bytes or as text with
    U+2581 for a space and pieces such as <0x0A> for bytes. Whichever reading gives exactly the
    text's bytes is the right one (behind one space, where the tokenizer puts one before a text),
    so a token that holds a part of a character ends inside it. If neither does, because the
    tokenizer changes the text, offsets decide: characters [start, end) of the text for each
    token; tokens that share a character share its bytes. See `Encoding` for the result.
    """
    if not pieces:
        return np.empty(0, dtype=np.int64), True
    data = text.encode()
    for reading in (_byte_level, _marked_spaces):
        ends, aligned = align_bytes(data, [reading(piece) for piece in pieces])
        if aligned:
            return ends, True
    if offsets is None:
        return ends, False
    return _from_offsets(text, offsets), True


def align_bytes(data: bytes, parts: Sequence[bytes]) -> tuple[np.ndarray, bool]:
    """Where each token ends in these bytes, and whether that is known, from the tokens' own bytes.

    It is known where they are exactly the text's, or the text's behind one space; else the
    tokens share the text evenly.
    """
    joined = b"".join(parts)
    added = len(joined) - len(data)
    if added in (0, 1) and joined == b" " * added + data:
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        return np.maximum(ends - added, 0), True
    return len(data) * np.arange(1, len(parts) + 1, dtype=np.int64) // max(1, len(parts)), False


def _from_offsets(text: str, offsets: Sequence[tuple[int, int]]) -> np.ndarray:
    sizes = [len(char.encode()) for char in text]
    byte_at = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    starts, ends = byte_at[np.asarray(offsets, dtype=np.int64).reshape(-1, 2)].T
    empty = starts >= ends
    ends = np.maximum.accumulate(np.where(empty, 0, ends))
    result = ends.copy()
    covering = np.flatnonzero(~empty)
    for run in np.split(covering, np.flatnonzero(np.diff(ends[covering])) + 1):
        if len(run) > 1:
            begin, end = starts[run[-1]], ends[run[-1]]
            result[run] = begin + (end - begin) * np.arange(1, len(run) + 1) // len(run)
    result = np.maximum.accumulate(result)
    result[-1] = byte_at[-1]
    return result


def losses_by_byte(losses: np.ndarray, byte_ends: np.ndarray) -> np.ndarray:
    """Losses of a text's tokens laid on its bytes: float64 (byte_ends[-1],), same sum.

    losses, byte_ends (tokens,). A token's loss is spread evenly over its bytes; that of a token
    without bytes falls on the byte that follows it (or on the last): what comes next was chosen
    together with it. A loss that is NaN (a token that the protocol does not score) counts 0.
    """
    losses = np.nan_to_num(np.asarray(losses, dtype=np.float64))
    size = int(byte_ends[-1])
    begins = np.concatenate([[0], byte_ends[:-1]])
    widths = byte_ends - begins
    wide = widths > 0
    result = np.repeat(losses[wide] / widths[wide], widths[wide])
    np.add.at(result, np.minimum(begins[~wide], size - 1), losses[~wide])
    return result
