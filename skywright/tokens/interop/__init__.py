"""Token files of other systems: Megatron's `.bin`/`.idx` and datatrove's `.ds`.

Exports take, and imports give, a stream of chunks: some whole documents, their tokens one after
another and the length of each. Nothing here holds more than one chunk of tokens in memory, and
documents are written as they come: `without_bos` and `with_ends` stand between two formats that
disagree about the special tokens at a document's ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skywright.errors import UserError

Tokens = NDArray[Any]  # uint16, uint32 or int32
Lengths = NDArray[np.int64]
Chunks = Iterable[tuple[Tokens, Lengths]]
"""(tokens of some whole documents, shape (t,); tokens of each document, shape (d,), sum t)."""

_CHUNK_TOKENS = 1 << 22  # 8 or 16 MB


class Written(NamedTuple):
    """What an export holds: tokens, documents, and the name of the ids' NumPy type."""

    tokens: int
    documents: int
    dtype: str


class ReadTokens(NamedTuple):
    """An opened export: all tokens, memory-mapped, shape (t,), and lengths int64 (documents,)."""

    tokens: Tokens
    lengths: Lengths

    def chunks(self, chunk_tokens: int = _CHUNK_TOKENS) -> Iterator[tuple[Tokens, Lengths]]:
        """The documents in order, about `chunk_tokens` tokens (at least one document) at a time."""
        ends = np.cumsum(self.lengths)
        first, start = 0, 0
        while first < ends.size:
            after = int(np.searchsorted(ends, start + chunk_tokens, side="right"))
            after = max(after, first + 1)
            stop = int(ends[after - 1])
            yield self.tokens[start:stop], self.lengths[first:after]
            first, start = after, stop


def checked(path: Path, chunks: Chunks, vocab_size: int) -> Iterator[tuple[Tokens, Lengths]]:
    """`chunks` as they are, once every length and id in them is found good.

    Raises UserError for a negative length, lengths that do not sum to the tokens, an id outside
    0 .. vocab_size-1, and a stream without tokens; `path` is the file being written.
    """
    documents = tokens_seen = 0
    for tokens, lengths in chunks:
        if lengths.size and int(lengths.min()) < 0:
            at = int(np.argmax(lengths < 0))
            raise UserError(
                f"{path}: document {documents + at:,} has {int(lengths[at]):,} tokens; the"
                " offsets it was read from are damaged"
            )
        if int(lengths.sum()) != tokens.size:
            raise UserError(
                f"{path}: from document {documents:,} on, {lengths.size:,} documents should have"
                f" {int(lengths.sum()):,} tokens, but {tokens.size:,} were read; the offsets and"
                " the tokens do not belong together"
            )
        if tokens.size and (int(tokens.min()) < 0 or int(tokens.max()) >= vocab_size):
            at = int(np.argmax((tokens < 0) | (tokens >= vocab_size)))
            raise UserError(
                f"{path}: token {tokens_seen + at:,} has id {int(tokens[at]):,}, outside the"
                f" vocabulary of {vocab_size:,}; give the vocabulary the tokens were made with"
            )
        documents += lengths.size
        tokens_seen += tokens.size
        yield tokens, lengths
    if tokens_seen == 0:
        raise UserError(f"{path}: there are no tokens to write; name a source that has documents")


def without_bos(chunks: Chunks, bos_id: int) -> Iterator[tuple[Tokens, Lengths]]:
    """Each document without its first token, which must be BOS; raises UserError where not."""
    documents = 0
    for tokens, lengths in chunks:
        starts = np.cumsum(lengths) - lengths
        begins = lengths > 0
        begins[begins] = tokens[starts[begins]] == bos_id
        if not begins.all():
            raise UserError(
                f"document {documents + int(np.argmin(begins)):,} does not begin with BOS"
                f" ({bos_id}); export the documents as they are"
            )
        kept = np.ones(tokens.size, dtype=bool)
        kept[starts] = False
        documents += lengths.size
        yield tokens[kept], lengths - 1


def with_ends(chunks: Chunks, bos_id: int, eos_id: int) -> Iterator[tuple[Tokens, Lengths]]:
    """Each document with BOS before it and EOS behind it, added only where it lacks them.

    The ids' type widens if the two do not fit it.
    """
    for tokens, lengths in chunks:
        ends = np.cumsum(lengths)
        starts = ends - lengths
        filled = lengths > 0
        lacks = np.ones((lengths.size, 2), dtype=bool)
        lacks[filled, 0] = tokens[starts[filled]] != bos_id
        lacks[filled, 1] = tokens[ends[filled] - 1] != eos_id
        # Document by document, so that one's EOS comes before the next one's BOS.
        places = np.stack([starts, ends], axis=1)[lacks]
        added = np.broadcast_to([bos_id, eos_id], lacks.shape)[lacks]
        dtype = np.result_type(tokens.dtype, np.min_scalar_type(max(bos_id, eos_id)))
        widened = tokens.astype(dtype, copy=False)
        yield np.insert(widened, places, added), lengths + lacks.sum(axis=1)
