"""Best-fit packing: documents into windows so that only those longer than a window are cut.

Ding et al., Fewer Truncations Improve Language Modeling (ICML 2024, arXiv 2404.10830), Section 3:
documents longer than a window are first cut into full windows and a rest; all pieces then go, the
longest first, into the window with the least room that still holds them. Concatenation cuts about
every window's last document instead; the price here is padding at the end of some windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skywright.engine.compiled import compiled
from skywright.errors import UserError

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Packing:
    """Pieces of documents by window.

    Window i holds pieces window_offsets[i] .. window_offsets[i+1]-1 in the order of the stream;
    piece j is tokens piece_starts[j] .. piece_starts[j] + piece_lengths[j] - 1 of it. Shapes:
    window_offsets int64 (windows + 1,), piece_starts int64 and piece_lengths int32 (pieces,).
    """

    capacity_tokens: int
    overlap_tokens: int
    window_offsets: Integers
    piece_starts: Integers
    piece_lengths: NDArray[np.int32]

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return self.window_offsets.size - 1

    @property
    def fill_share(self) -> float:
        """Share of the windows' positions that hold a token; the rest is padding. 1 if none."""
        positions = self.windows * self.capacity_tokens
        return int(self.piece_lengths.sum(dtype=np.int64)) / positions if positions else 1.0


class Comparison(NamedTuple):
    """Packing beside concatenation: windows, their filling, and shares of documents cut.

    Concatenation fills every window by construction; its windows share overlap_tokens tokens
    with the next, and a shorter rest counts as a window here.
    """

    windows: int
    fill_share: float
    cut_share: float
    concatenated_windows: int
    concatenated_cut_share: float


@compiled
def _cut(lengths, capacity, overlap):  # type: ignore[no-untyped-def]
    """Pieces of at most `capacity` tokens, in the order of the stream: starts and lengths.

    A document of n tokens gives (n - overlap) // (capacity - overlap) full pieces and a rest of
    what they leave, if that is more than the overlap.
    """
    step = capacity - overlap
    pieces = 0
    for length in lengths:
        full = max(length - overlap, 0) // step
        pieces += full + (length - full * step > (overlap if full > 0 else 0))
    starts = np.empty(pieces, np.int64)
    sizes = np.empty(pieces, np.int32)
    piece = 0
    position = 0
    for length in lengths:
        full = max(length - overlap, 0) // step
        for i in range(full):
            starts[piece] = position + i * step
            sizes[piece] = capacity
            piece += 1
        if length - full * step > (overlap if full > 0 else 0):
            starts[piece] = position + full * step
            sizes[piece] = length - full * step
            piece += 1
        position += length
    return starts, sizes


@compiled
def _longest_first(sizes, capacity):  # type: ignore[no-untyped-def]
    """Pieces by falling size, equal ones in the order of the stream (a counting sort)."""
    place = np.zeros(capacity + 2, np.int64)
    for size in sizes:
        place[capacity - size + 1] += 1
    for i in range(capacity + 1):
        place[i + 1] += place[i]
    order = np.empty(len(sizes), np.int64)
    for piece in range(len(sizes)):
        order[place[capacity - sizes[piece]]] = piece
        place[capacity - sizes[piece]] += 1
    return order


@compiled
def _best_fit(sizes, order, capacity):  # type: ignore[no-untyped-def]
    """The window of each piece, int64 (pieces,), and how many windows there are.

    Best fit decreasing in O(pieces + capacity). Windows stand in lists by the room they have
    left. As sizes fall, a room once wide enough stays so; the rooms that are wide enough and
    not empty are kept on a stack, the narrowest on top, which is the best fit. What a piece
    leaves of that room is narrower than all others, so it goes on top if it is still wide
    enough, and is otherwise met when the sizes have come down to it.
    """
    window_of = np.empty(len(sizes), np.int64)
    newest = np.full(capacity + 1, -1, np.int64)  # a window with so much room left, by room
    below = np.empty(len(sizes), np.int64)  # the next window with the same room
    rooms = np.empty(capacity + 1, np.int64)  # the stack
    height = 0
    reached = capacity + 1  # rooms from here up that are not empty are on the stack
    windows = 0
    for piece in order:
        size = sizes[piece]
        while reached > size:
            reached -= 1
            if newest[reached] >= 0:
                rooms[height] = reached
                height += 1
        if height > 0:
            room = rooms[height - 1]
            window = newest[room]
            newest[room] = below[window]
            if newest[room] < 0:
                height -= 1
        else:
            room = capacity
            window = windows
            windows += 1
        window_of[piece] = window
        left = room - size
        below[window] = newest[left]
        newest[left] = window
        if left >= size:
            rooms[height] = left
            height += 1
    return window_of, windows


@compiled
def _by_window(starts, sizes, window_of, windows):  # type: ignore[no-untyped-def]
    """Pieces sorted by window, in each in the order of the stream; offsets of the windows."""
    offsets = np.zeros(windows + 1, np.int64)
    for window in window_of:
        offsets[window + 1] += 1
    for window in range(windows):
        offsets[window + 1] += offsets[window]
    place = offsets[:-1].copy()
    sorted_starts = np.empty_like(starts)
    sorted_sizes = np.empty_like(sizes)
    for piece in range(len(starts)):
        at = place[window_of[piece]]
        place[window_of[piece]] += 1
        sorted_starts[at] = starts[piece]
        sorted_sizes[at] = sizes[piece]
    return offsets, sorted_starts, sorted_sizes


def pack(lengths: ArrayLike, capacity_tokens: int, overlap_tokens: int = 0) -> Packing:
    """Pack documents of `lengths` tokens (n,), one after another in a stream, into windows.

    `capacity_tokens` is what a window holds: sequence_tokens + 1 where the model is fed
    row[:-1] and learns row[1:]. A document that fits is one piece. With `overlap_tokens` 0 every
    token is in one piece; with 1, a piece that goes on with a document begins with the last
    token of the piece before, so that every token but a document's first is learned once (the
    first token of a piece is no label). The result depends on nothing but the arguments.

    One thread, time linear in documents and capacity; at most 48 bytes a piece at the peak, of
    which 12 a piece and 8 a window stay. Raises UserError for a negative length and for a
    capacity that holds no token beside the overlap.
    """
    sizes = np.ascontiguousarray(lengths, dtype=np.int64)
    if not 0 <= overlap_tokens < capacity_tokens or capacity_tokens > np.iinfo(np.int32).max:
        raise UserError(
            f"packing: capacity_tokens must be above the overlap of {overlap_tokens:,} tokens and"
            f" below 2^31 (got {capacity_tokens:,}); give a longer sequence"
        )
    if sizes.size and int(sizes.min()) < 0:
        at = int(np.argmax(sizes < 0))
        raise UserError(
            f"packing: document {at:,} has {int(sizes[at]):,} tokens; the offsets it was read"
            " from are damaged"
        )
    starts, pieces = _cut(sizes, capacity_tokens, overlap_tokens)
    order = _longest_first(pieces, capacity_tokens)
    window_of, windows = _best_fit(pieces, order, capacity_tokens)
    del order
    return Packing(capacity_tokens, overlap_tokens, *_by_window(starts, pieces, window_of, windows))


def compare(lengths: ArrayLike, packing: Packing) -> Comparison:
    """What `packing` did to documents of `lengths` (n,), beside concatenating them."""
    sizes = np.asarray(lengths, dtype=np.int64)
    capacity = packing.capacity_tokens
    step = capacity - packing.overlap_tokens
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = int(ends[-1]) if ends.size else 0
    # Window k reads tokens k * step .. k * step + capacity - 1.
    cut = ends > starts // step * step + capacity
    documents = max(sizes.size, 1)
    return Comparison(
        windows=packing.windows,
        fill_share=packing.fill_share,
        cut_share=int((sizes > capacity).sum()) / documents,
        concatenated_windows=-(-max(total - packing.overlap_tokens, 0) // step),
        concatenated_cut_share=int(cut.sum()) / documents,
    )
