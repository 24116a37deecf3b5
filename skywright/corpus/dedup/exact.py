"""Exact copies: 16-byte content hashes, of the measure view and of the text as it is."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pyarrow as pa

from skywright.corpus import fold, kernels
from skywright.engine.compiled import compiled

VERSION = f"content-hash/v1 {fold.VERSION}"
HASH_BYTES = 16
HASH_TYPE = pa.binary(HASH_BYTES)

_BLANK = fold.SPACE | fold.NEWLINE


@compiled
def _collapse(codes, kinds, view_offsets):  # type: ignore[no-untyped-def]
    """Views with white space of any kind collapsed to one space and trimmed; their offsets."""
    documents = len(view_offsets) - 1
    out = np.empty(len(codes), np.uint32)
    offsets = np.zeros(documents + 1, np.int64)
    n = 0
    for d in range(documents):
        begin = n
        gap = False
        for i in range(view_offsets[d], view_offsets[d + 1]):
            if kinds[i] & _BLANK:
                gap = n > begin
                continue
            if gap:
                out[n] = 0x20
                n += 1
                gap = False
            out[n] = codes[i]
            n += 1
        offsets[d + 1] = n
    return out[:n], offsets


def _digest(data: memoryview | bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=HASH_BYTES).digest()


def content_hash(texts: pa.Array | pa.ChunkedArray) -> pa.FixedSizeBinaryArray:
    """BLAKE2b-128 of each text's measure view, white space collapsed: equal texts to a reader.

    Case, width, spacing, line breaks and format characters make no difference; punctuation does.
    The view is hashed as UTF-32, little-endian. Raises `UserError` for a null.
    """
    return pa.array([d for view in kernels.views(texts) for d in content_digests(view)], HASH_TYPE)


def content_digests(view: kernels.Views) -> list[bytes]:
    """The same of texts whose view is there already."""
    codes, offsets = _collapse(view.codes, view.kinds, view.offsets)
    data = memoryview(codes.astype("<u4", copy=False)).cast("B")
    return [_digest(data[a:b]) for a, b in itertools.pairwise((4 * offsets).tolist())]


def raw_hash(texts: pa.Array | pa.ChunkedArray) -> pa.FixedSizeBinaryArray:
    """BLAKE2b-128 of each text's UTF-8 bytes as they are. Raises `UserError` for a null."""
    offsets, data = fold.utf8_buffers(texts)
    view = memoryview(data.data)
    ends = offsets.tolist()
    return pa.array([_digest(view[a:b]) for a, b in itertools.pairwise(ends)], HASH_TYPE)
