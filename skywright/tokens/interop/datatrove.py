"""datatrove's tokenised documents: `x.ds` (ids), `x.ds.index` (ends), `x.ds.metadata` (text).

Ids are little-endian uint16, or uint32 where the vocabulary has more than 65,536 ids; the index
is uint64, the token after each document; the metadata has three lines: the tokenizer's name, "|"
and the bytes of an id; the number of tokens; the same for people
(datatrove/pipeline/tokens/tokenizer.py, `TokenizedFile`, read in datatrove 0.10.1). Shuffling by
document gives the same format in another order. After shuffling by chunk the index also has the
chunks' ends, so that "documents" are pieces; shuffling by context window writes no index, and
such a file has no documents to read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skywright.engine.files import atomic_open
from skywright.errors import UserError
from skywright.tokens.interop import Chunks, Lengths, ReadTokens, Tokens, Written, checked

SUFFIX = ".ds"
_UINT16_IDS = 1 << 16  # `PipelineStepWithTokenizer.token_size`
_TYPES: dict[int, np.dtype[Any]] = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
_END = np.dtype("<u8")
_AGAIN = "copy the .ds files again or make them again"


def _beside(path: Path, kind: str) -> Path:
    return path.with_name(f"{path.name}.{kind}")


def _checked_name(path: Path) -> Path:
    if path.suffix != SUFFIX:
        raise UserError(f"{path}: datatrove's readers look for names that end in {SUFFIX!r}")
    return path


def _for_people(tokens: int) -> str:
    """Three digits and an SI prefix, as humanize.metric(tokens, unit="T") writes them."""
    digits, exponent = f"{tokens:.2e}".split("e")
    thousands, power = divmod(int(exponent), 3)
    prefix = " kMGTPE"[thousands].strip()
    return f"{float(digits) * 10**power:.{2 - power}f} {prefix}T"


def write(path: Path, chunks: Chunks, vocab_size: int, tokenizer: str) -> Written:
    """Write `chunks` as `path` (it ends in .ds), its index and its metadata, atomically.

    `tokenizer` is the name that the metadata give. Memory: a chunk. Raises UserError for what
    `checked` refuses, another suffix, and a name that datatrove's readers would misread.
    """
    path = _checked_name(Path(path))
    if not tokenizer or "|" in tokenizer or len(tokenizer.splitlines()) != 1:
        raise UserError(
            f"{path}: tokenizer: {tokenizer!r} cannot stand in the metadata; give one line"
            " without '|'"
        )
    token_size = 2 if vocab_size <= _UINT16_IDS else 4
    kind = _TYPES[token_size]
    documents = written = 0
    with atomic_open(path) as stream, atomic_open(_beside(path, "index")) as index:
        for tokens, lengths in checked(path, chunks, vocab_size):
            stream.write(tokens.astype(kind, copy=False).tobytes())
            index.write((written + np.cumsum(lengths)).astype(_END).tobytes())
            documents += lengths.size
            written += tokens.size
        # Metadata and a loss mask of an earlier file would be taken for this one's.
        for left in ("metadata", "loss"):
            _beside(path, left).unlink(missing_ok=True)
    with atomic_open(_beside(path, "metadata"), "w") as text:
        text.write(f"{tokenizer}|{token_size}\n{written}\n{_for_people(written)}")
    return Written(tokens=written, documents=documents, dtype=kind.name)


def read(path: Path) -> ReadTokens:
    """Map `path` and read its documents' lengths.

    The width of an id is the file's size over the index's last end; metadata, where there are
    some, must agree. Raises UserError naming the file where one is absent, cut short, too long
    or falling, and where there is a loss mask (`.ds.loss`), which token shards cannot hold.
    """
    path = _checked_name(Path(path))
    size = _size(path)
    ends = _read_ends(path)
    total = int(ends[-1]) if ends.size else 0
    stated = _stated_size(path, total)
    fitting = next((width for width in _TYPES if size == width * total), None)
    if fitting is None or stated not in (None, fitting):
        width = stated or (2 if size < 4 * total else 4)
        state = "cut short" if size < width * total else "too long"
        raise UserError(
            f"{path}: {state}: {size:,} bytes where its index ({total:,} tokens of"
            f" {width} bytes) means {width * total:,}; {_AGAIN}"
        )
    if _beside(path, "loss").exists():
        raise UserError(
            f"{_beside(path, 'loss')}: marks tokens that must not be learned, which token shards"
            " cannot hold; remove it to take all tokens"
        )
    kind = _TYPES[stated or fitting]
    tokens: Tokens = np.memmap(path, dtype=kind, mode="r") if size else np.zeros(0, dtype=kind)
    lengths: Lengths = np.diff(np.concatenate([[0], ends.astype(np.int64)]))
    return ReadTokens(tokens=tokens, lengths=lengths)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None


def _read_ends(path: Path) -> NDArray[np.uint64]:
    index = _beside(path, "index")
    if not index.exists():
        raise UserError(
            f"{index}: no such file, and without it documents cannot be told apart; tokenise with"
            " save_index=True"
        )
    if _size(index) % _END.itemsize:
        raise UserError(
            f"{index}: cut short: {_size(index):,} bytes are no whole number of ends; {_AGAIN}"
        )
    ends = np.fromfile(index, dtype=_END)
    # Ends are unsigned: compare neighbours, since a difference would wrap around.
    falls = ends[1:] < ends[:-1]
    if falls.any():
        at = int(np.argmax(falls)) + 1
        raise UserError(
            f"{index}: document {at:,} ends at token {int(ends[at]):,}, before the document"
            f" before it ({int(ends[at - 1]):,}); {_AGAIN}"
        )
    return ends


def _stated_size(path: Path, total: int) -> int | None:
    """Bytes of an id after the metadata; None where there are none or they do not say."""
    metadata = _beside(path, "metadata")
    if not metadata.exists():
        return None
    try:
        lines = metadata.read_text(encoding="utf-8").splitlines()
        stated = int(lines[0].rpartition("|")[2]) if "|" in lines[0] else None
        tokens = int(lines[1])
    except (UnicodeDecodeError, ValueError, IndexError):
        raise UserError(
            f"{metadata}: does not begin with 'tokenizer|bytes of an id' and the number of"
            " tokens; correct it or remove it"
        ) from None
    if stated is not None and stated not in _TYPES:
        raise UserError(f"{metadata}: ids of {stated} bytes; datatrove writes 2 or 4; {_AGAIN}")
    if tokens != total:
        raise UserError(
            f"{metadata}: says {tokens:,} tokens, but the index ends at {total:,}; {_AGAIN}"
        )
    return stated
