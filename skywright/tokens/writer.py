"""Writes the files of a shard, hashing them on the way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from skywright.tokens.manifest import (
    BYTES_DTYPE,
    KINDS,
    OFFSETS_DTYPE,
    FileEntry,
    Kind,
    ShardEntry,
    token_dtype,
)


class Vocabulary(Protocol):
    """What a shard's manifest tells of the tokenizer."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def bos_id(self) -> int: ...
    @property
    def eos_id(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...


class _File:
    """A file that is hashed as it is written."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array).data
        self._stream.write(data)
        self._hash.update(data)
        self._bytes += data.nbytes

    def entry(self) -> FileEntry:
        return FileEntry(bytes=self._bytes, sha256=self._hash.hexdigest())


class ShardWriter:
    """The three files of one shard, written in order; `open_shard` makes and closes one."""

    def __init__(self, files: dict[Kind, _File], dtype: np.dtype) -> None:
        self._files, self._dtype = files, dtype
        self._files["offsets"].write(np.zeros(1, OFFSETS_DTYPE))
        self.tokens = self.documents = self.bytes = 0

    def add(self, tokens: np.ndarray, lengths: np.ndarray, text_bytes: np.ndarray) -> None:
        """Append documents: their tokens one after another, lengths, and bytes of their texts."""
        self._files["bin"].write(tokens.astype(self._dtype))
        self._files["offsets"].write((self.tokens + np.cumsum(lengths)).astype(OFFSETS_DTYPE))
        self._files["bytes"].write(text_bytes.astype(BYTES_DTYPE))
        self.tokens += int(lengths.sum())
        self.documents += len(lengths)
        self.bytes += int(text_bytes.sum(dtype=np.int64))

    def entry(self, name: str) -> ShardEntry:
        """The shard's line of the manifest."""
        return ShardEntry(
            name=name,
            tokens=self.tokens,
            documents=self.documents,
            bytes=self.bytes,
            files={kind: self._files[kind].entry() for kind in KINDS},
        )


@contextmanager
def open_shard(folder: Path, name: str, vocab_size: int) -> Iterator[ShardWriter]:
    """Write `name`.bin, .offsets and .bytes into a folder that is not visible yet."""
    with ExitStack() as stack:
        files = {
            kind: _File(stack.enter_context(open(folder / f"{name}.{kind}", "wb")))
            for kind in KINDS
        }
        yield ShardWriter(files, token_dtype(vocab_size))


def frame(
    ids: np.ndarray, starts: np.ndarray, bos_id: int, eos_id: int
) -> tuple[np.ndarray, np.ndarray]:
    """Documents with BOS before and EOS after each, and their lengths.

    BOS as LLaMA: a document's first token then has the same token before it as in evaluation.
    """
    lengths = np.diff(starts) + 2
    ends = np.cumsum(lengths)
    framed = np.empty(int(ends[-1]), dtype=ids.dtype)
    inside = np.ones(framed.size, dtype=bool)
    inside[ends - 1] = inside[ends - lengths] = False
    framed[inside] = ids
    framed[ends - lengths], framed[ends - 1] = bos_id, eos_id
    return framed, lengths
