"""Digests that WARC records carry, checked against the bytes that were read."""

from __future__ import annotations

import base64
import binascii
import hashlib

_ALGORITHMS = {"sha1": 20, "sha256": 32, "sha512": 64, "md5": 16}


def matches(declared: str | None, *candidates: bytes) -> bool | None:
    """Whether the digest is that of one of the candidates; None if there is nothing to check.

    `declared` is "sha1:<base32 or hex>" (WARC 1.1, section 5.8); an unknown algorithm, or a value
    of the wrong length, checks nothing.
    """
    algorithm, _, value = (declared or "").strip().partition(":")
    algorithm = algorithm.lower().replace("-", "")
    wanted = _value(value.strip(), _ALGORITHMS.get(algorithm, 0))
    if wanted is None:
        return None
    return any(
        hashlib.new(algorithm, data, usedforsecurity=False).digest() == wanted
        for data in candidates
    )


def _value(text: str, size: int) -> bytes | None:
    if not size:
        return None
    try:
        if len(text) == 2 * size:
            return binascii.unhexlify(text)
        found = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except (ValueError, binascii.Error):
        return None
    return found if len(found) == size else None
