"""Packed files for tests, by the ending of their names."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pyarrow as pa
import zstandard


def lz4(data: bytes) -> bytes:
    """One lz4 frame."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACK = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    ".lz4": lz4,
    ".bz2": bz2.compress,
    ".xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
}
