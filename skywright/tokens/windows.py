"""The windows of a source: which pieces of its stream make up each, and how rows are filled.

Concatenated, a window is sequence_tokens + 1 tokens of the stream wherever documents end. Packed,
it is whole documents, as many as fit, and padding (`skywright.tokens.packing`).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from skywright.engine.compiled import compiled
from skywright.tokens.packing import Packing
from skywright.tokens.shards import Shards, Tokens

Integers = NDArray[np.int64]

PADDING = -1  # what stands in a row where it has no token


class Pieces(NamedTuple):
    """Stretches of a stream and where they go; arrays of shape (pieces,)."""

    positions: Integers
    lengths: Integers
    rows: Integers
    columns: Integers


class Windows(Protocol):
    """The windows of one source at one length, as the loader reads them."""

    def pieces(self, windows: Integers, rows: Integers) -> Pieces:
        """What fills row rows[i] with windows[i]."""
        ...

    def mark(self, pieces: Pieces, starts: NDArray[np.bool_]) -> None:
        """Set starts[row, k] where a document, or a part of one, begins at token k of a row."""
        ...


class Concatenated:
    """A window every `length` tokens of the stream, `length` + 1 tokens each."""

    def __init__(self, shards: Shards, source: str, length: int) -> None:
        self._shards, self._source, self._length = shards, source, length

    def pieces(self, windows: Integers, rows: Integers) -> Pieces:
        return Pieces(
            windows * self._length, np.full_like(rows, self._length + 1), rows, np.zeros_like(rows)
        )

    def mark(self, pieces: Pieces, starts: NDArray[np.bool_]) -> None:
        offsets = self._shards.offsets(self._source)
        firsts = np.searchsorted(offsets, pieces.positions, side="right")
        _mark_documents(offsets, firsts, pieces.positions, pieces.rows, starts)


class Packed:
    """Windows of whole documents; only those longer than a window are cut."""

    def __init__(self, packing: Packing) -> None:
        self._packing = packing

    def pieces(self, windows: Integers, rows: Integers) -> Pieces:
        packing = self._packing
        firsts = packing.window_offsets[windows]
        counts = packing.window_offsets[windows + 1] - firsts
        begins = np.cumsum(counts) - counts
        within = np.arange(int(counts.sum())) - np.repeat(begins, counts)
        chosen = np.repeat(firsts, counts) + within
        lengths = packing.piece_lengths[chosen].astype(np.int64)
        upto = np.cumsum(lengths) - lengths
        columns = upto - np.repeat(upto[begins], counts)
        return Pieces(packing.piece_starts[chosen], lengths, np.repeat(rows, counts), columns)

    def mark(self, pieces: Pieces, starts: NDArray[np.bool_]) -> None:
        starts[pieces.rows, pieces.columns] = True


@compiled
def _mark_documents(offsets, firsts, positions, rows, starts):  # type: ignore[no-untyped-def]
    """`firsts[i]`: the first document that begins after positions[i], where rows[i] begins."""
    width = starts.shape[1]
    for i in range(rows.size):
        starts[rows[i], 0] = True
        document = firsts[i]
        while document < offsets.size - 1 and offsets[document] - positions[i] < width:
            starts[rows[i], offsets[document] - positions[i]] = True
            document += 1


@compiled
def _copy_pieces(tokens, first, positions, lengths, rows, columns, chosen, out):  # type: ignore[no-untyped-def]
    for i in chosen:
        # Slices, not indices, in the inner loop: it then becomes vector instructions, four times
        # as fast (measured with samples of 4,096 tokens).
        source = tokens[positions[i] - first :]
        target = out[rows[i]][columns[i] :]
        for k in range(lengths[i]):
            target[k] = source[k]


def copy_pieces(parts: tuple[Tokens, ...], pieces: Pieces, out: Integers) -> None:
    """Fill rows of `out` (n, width) from a stream that lies in several parts."""
    firsts = np.cumsum([0, *(part.size for part in parts)])
    owners = np.searchsorted(firsts, pieces.positions, side="right") - 1
    crossing = pieces.positions + pieces.lengths > firsts[owners + 1]
    for owner in np.unique(owners):
        chosen = np.flatnonzero((owners == owner) & ~crossing)
        _copy_pieces(parts[owner], firsts[owner], *pieces, chosen, out)
    for i in np.flatnonzero(crossing):
        position, row, column = (int(a[i]) for a in (pieces.positions, pieces.rows, pieces.columns))
        end, owner = position + int(pieces.lengths[i]), int(owners[i])
        while position < end:
            start = position - int(firsts[owner])
            part = parts[owner][start : start + end - position]
            out[row, column : column + part.size] = part
            position, column, owner = position + part.size, column + part.size, owner + 1
