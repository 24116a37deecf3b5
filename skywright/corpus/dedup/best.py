"""Which of two copies is the better one: 36 bytes that sort the best first."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

RANK_BYTES = 36
_OLDEST = 2**48 - 1
ID_AT = 20  # the rank ends with the 16 bytes of the id


def rank(
    priority: int,
    quality: float | None,
    chars: int,
    date: str | None,
    identity: bytes,
    generation: int = 0,
) -> bytes:
    """Bytes that sort the better of two copies first.

    In this order: the older `generation` (0..65535: what stood in a corpus before is better than
    all that is new), the higher `priority` of the source (32 bits), the higher `quality` (to 32-bit
    precision; None is below every number), the longer text, the newer date (by its digits, so year
    first; None is the oldest), the smaller id (16 bytes). Raises `ValueError` for an id of another
    length or a generation out of range.
    """
    if len(identity) != RANK_BYTES - ID_AT or not 0 <= generation < 2**16:
        raise ValueError(f"rank: id of {len(identity)} bytes, generation {generation}")
    urgency = min(max(2**31 - priority, 0), 2**32 - 1)
    shortness = 2**32 - 1 - min(chars, 2**32 - 1)
    numbers = struct.pack(">HIIIQ", generation, urgency, _faults(quality), shortness, _age(date))
    return numbers[:14] + numbers[16:] + identity


def ranks(
    priorities: np.ndarray,
    chars: np.ndarray,
    dates: Sequence[str | None],
    ids: np.ndarray,
    generation: int = 0,
) -> np.ndarray:
    """`rank` of many documents without a quality, uint8 (rows, 36); ids uint8 (rows, 16)."""
    out = np.empty((len(ids), RANK_BYTES), np.uint8)
    urgency = np.clip(2**31 - priorities.astype(np.int64), 0, 2**32 - 1)
    shortness = 2**32 - 1 - np.minimum(chars.astype(np.int64), 2**32 - 1)
    ages = np.fromiter((_age(date) if date else _OLDEST for date in dates), np.int64, len(ids))
    out[:, :2] = generation >> 8, generation & 255
    for begin, numbers in ((2, urgency), (10, shortness)):
        out[:, begin : begin + 4] = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    out[:, 6:10] = 255
    out[:, 14:ID_AT] = ages.astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    out[:, ID_AT:] = ids
    return out


def _age(date: str | None) -> int:
    """48 bits that fall as the date rises."""
    digits = "".join(c for c in date or "" if c.isascii() and c.isdigit())[:14].ljust(14, "0")
    return _OLDEST - int(digits)


def generations(ranks: np.ndarray) -> np.ndarray:
    """The generation, int64 (rows), of each of uint8 (rows, 36) ranks."""
    return ranks[:, 0].astype(np.int64) * 256 + ranks[:, 1]


def _faults(quality: float | None) -> int:
    """32 bits that fall as the quality rises."""
    if quality is None or quality != quality:
        return 2**32 - 1
    (bits,) = struct.unpack(">I", struct.pack(">f", quality + 0.0))
    rising = bits ^ 0xFFFFFFFF if bits >> 31 else bits ^ 0x80000000
    return 2**32 - 1 - rising
