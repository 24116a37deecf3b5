"""Megatron's indexed dataset: `<prefix>.bin` (ids) and `<prefix>.idx` (where sequences stand).

The index is little-endian (megatron/core/datasets/indexed_dataset.py, `_IndexWriter`, read in
megatron-core 0.16.1): nine bytes "MMIDIDX\\0\\0", version uint64 1, type code uint8, sequences
uint64 s, entries of the document index uint64 d; then lengths int32 (s), byte offsets into the
.bin int64 (s), and the document index int64 (d): the first sequence of each document, and s at
the end. One document is one sequence here, as `GPTDataset` expects it.

Width: Megatron's `DType.optimal_dtype` takes uint16 below 65,500 ids and int32 from there on,
so a vocabulary of 65,536 is written as int32, twice its size as shards. The .idx names the type
and `IndexedDataset` obeys it, so uint16 can be asked for up to 65,536 ids. One reader does not
look: with `--per-dataset-sequences-path`, `GPTDatasetConfig.token_dtype_code` assumes uint16 up
to 65,536 ids; from 65,500 to 65,536 ids that option needs files written with dtype="uint16".
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from skywright.engine.files import atomic_open
from skywright.errors import UserError
from skywright.tokens.interop import Chunks, Lengths, ReadTokens, Tokens, Written, checked

_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = struct.Struct("<9sQBQQ")
_CODES: dict[np.dtype[Any], int] = {
    np.dtype("<i4"): 4,
    np.dtype("<u2"): 8,
}  # `DType` of the same file
_NAMES = {1: "uint8", 2: "int8", 3: "int16", 5: "int64", 6: "float64", 7: "float32"}
_UINT16_BELOW = 65_500  # `DType.optimal_dtype`
_UINT16_IDS = 1 << 16
_MAX_LENGTH = np.iinfo(np.int32).max
_AGAIN = "copy both files again or make them again"


def bin_path(prefix: Path) -> Path:
    """`<prefix>.bin`; a dot in the prefix is part of the name."""
    return Path(f"{prefix}.bin")


def idx_path(prefix: Path) -> Path:
    """`<prefix>.idx`; a dot in the prefix is part of the name."""
    return Path(f"{prefix}.idx")


def optimal_dtype(vocab_size: int) -> np.dtype:
    """The type that Megatron's own tools write for so many ids: uint16 or int32."""
    return np.dtype("<u2") if vocab_size < _UINT16_BELOW else np.dtype("<i4")


def write(
    prefix: Path,
    chunks: Chunks,
    vocab_size: int,
    dtype: Literal["uint16", "int32"] | None = None,
) -> Written:
    """Write `chunks` as `<prefix>.bin` and `<prefix>.idx`, atomically, the index last.

    `dtype` is Megatron's choice for the vocabulary unless given. Memory: a chunk, and four bytes
    a document. Raises UserError for what `checked` refuses, a type too narrow for the vocabulary,
    and a document of 2^31 tokens or more, which the index cannot hold.
    """
    tokens_path = bin_path(prefix)
    kind = np.dtype(dtype).newbyteorder("<") if dtype else optimal_dtype(vocab_size)
    if kind not in _CODES or (kind.itemsize == 2 and vocab_size > _UINT16_IDS):
        raise UserError(
            f"{tokens_path}: dtype: {kind.name} does not hold a vocabulary of {vocab_size:,} ids;"
            " leave it to Megatron's rule or give int32"
        )
    parts: list[NDArray[np.int32]] = []
    documents = written = 0
    with atomic_open(tokens_path) as stream:
        for tokens, lengths in checked(tokens_path, chunks, vocab_size):
            if lengths.size and int(lengths.max()) > _MAX_LENGTH:
                at = documents + int(np.argmax(lengths))
                raise UserError(
                    f"{tokens_path}: document {at:,} has {int(lengths.max()):,} tokens, but a"
                    f" Megatron index holds at most {_MAX_LENGTH:,}; leave it out or part it"
                )
            stream.write(tokens.astype(kind, copy=False).tobytes())
            parts.append(lengths.astype(np.int32))
            documents += lengths.size
            written += tokens.size
        # An index beside another .bin would be taken for its own.
        idx_path(prefix).unlink(missing_ok=True)
    with atomic_open(idx_path(prefix)) as stream:
        _write_index(stream, parts, documents, kind)
    return Written(tokens=written, documents=documents, dtype=kind.name)


def _write_index(
    stream: IO[bytes], parts: list[NDArray[np.int32]], documents: int, kind: np.dtype
) -> None:
    stream.write(_HEADER.pack(_MAGIC, _VERSION, _CODES[kind], documents, documents + 1))
    for lengths in parts:
        stream.write(lengths.astype("<i4", copy=False).tobytes())
    position = 0
    for lengths in parts:
        ends = position + np.cumsum(lengths, dtype=np.int64) * kind.itemsize
        stream.write((ends - lengths.astype(np.int64) * kind.itemsize).astype("<i8").tobytes())
        position = int(ends[-1]) if ends.size else position
    first = 0
    for lengths in parts:
        stream.write(np.arange(first, first + lengths.size, dtype="<i8").tobytes())
        first += lengths.size
    stream.write(np.array([documents], dtype="<i8").tobytes())


def read(prefix: Path) -> ReadTokens:
    """Map `<prefix>.bin` and read its documents' lengths; several sequences of one are joined.

    Raises UserError naming the file where one is absent, cut short, too long, of another format,
    version or type, multimodal, or where its lengths, offsets and documents do not add up.
    """
    path, tokens_path = idx_path(prefix), bin_path(prefix)
    lengths, documents, kind = _read_index(path)
    size = _size(tokens_path)
    expected = int(lengths.sum()) * kind.itemsize
    if size != expected:
        state = "cut short" if size < expected else "too long"
        raise UserError(
            f"{tokens_path}: {state}: {size:,} bytes where {path.name} means {expected:,}; {_AGAIN}"
        )
    tokens: Tokens = (
        np.memmap(tokens_path, dtype=kind, mode="r") if size else np.zeros(0, dtype=kind)
    )
    ends = np.concatenate([[0], np.cumsum(lengths)])
    return ReadTokens(tokens=tokens, lengths=np.diff(ends[documents]))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; give the path without .bin and .idx") from None


def _read_index(path: Path) -> tuple[Lengths, NDArray[np.int64], np.dtype]:
    """Lengths of the sequences int64 (s), the document index int64 (d), and the ids' type."""
    size = _size(path)
    with open(path, "rb") as stream:
        sequences, entries, kind = _read_header(path, stream.read(_HEADER.size), size)
        lengths = np.fromfile(stream, "<i4", sequences).astype(np.int64)
        pointers = np.fromfile(stream, "<i8", sequences)
        documents = np.fromfile(stream, "<i8", entries)
    if sequences and int(lengths.min()) < 0:
        at = int(np.argmax(lengths < 0))
        raise UserError(f"{path}: sequence {at:,} has {int(lengths[at]):,} tokens; {_AGAIN}")
    wanted = (np.cumsum(lengths) - lengths) * kind.itemsize
    if (pointers != wanted).any():
        at = int(np.argmax(pointers != wanted))
        raise UserError(
            f"{path}: sequence {at:,} should begin at byte {int(wanted[at]):,} after the lengths"
            f" before it, but the index says {int(pointers[at]):,}; {_AGAIN}"
        )
    rising = bool((documents[1:] >= documents[:-1]).all())
    if not entries or int(documents[0]) != 0 or int(documents[-1]) != sequences or not rising:
        raise UserError(
            f"{path}: the document index must rise from 0 to the {sequences:,} sequences; {_AGAIN}"
        )
    return lengths, documents, kind


def _read_header(path: Path, header: bytes, size: int) -> tuple[int, int, np.dtype]:
    """(sequences, entries of the document index, the ids' type), the file's size agreeing."""
    if header[: len(_MAGIC)] != _MAGIC[: len(header)]:
        raise UserError(f"{path}: not a Megatron index: it does not begin with {_MAGIC[:7]!r}")
    if len(header) < _HEADER.size:
        raise UserError(f"{path}: cut short: {size:,} bytes are not even a header; {_AGAIN}")
    _, version, code, sequences, entries = _HEADER.unpack(header)
    if version != _VERSION:
        raise UserError(
            f"{path}: version {version:,} of Megatron's index; only version {_VERSION} is read"
        )
    kind = next((kind for kind, known in _CODES.items() if known == code), None)
    if kind is None:
        raise UserError(
            f"{path}: the ids are of type {_NAMES.get(code, f'code {code}')}, but token ids are"
            " read as uint16 or int32; make the dataset again with one of these"
        )
    expected = _HEADER.size + 12 * sequences + 8 * entries
    if sequences and size == expected + sequences:
        raise UserError(f"{path}: a multimodal dataset (it has modes); only text can be read")
    if size != expected:
        state = "cut short" if size < expected else "too long"
        raise UserError(
            f"{path}: {state}: {size:,} bytes where its header ({sequences:,} sequences,"
            f" {entries:,} entries of the document index) means {expected:,}; {_AGAIN}"
        )
    return sequences, entries, kind
