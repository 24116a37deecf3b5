"""Which of two copies is the better one: 36 bytes that sort the best first."""

from __future__ import annotations

import struct

import numpy as np

RANK_BYTES = 36
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
    digits = "".join(c for c in date or "" if c.isascii() and c.isdigit())[:14].ljust(14, "0")
    age = 2**48 - 1 - int(digits)
    numbers = struct.pack(">HIIIQ", generation, urgency, _faults(quality), shortness, age)
    return numbers[:14] + numbers[16:] + identity


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
