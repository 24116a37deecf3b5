"""Windows of tokens, filed under what they have in common: the kernels of `substrings.py`.

A *window* is `size` tokens in a row. Its *anchor* is the least hash among its runs of `width`
tokens (winnowing: Schleimer, Wilkerson, Aiken, SIGMOD 2003). Equal windows have equal anchors,
wherever they stand, and windows in a row mostly share theirs: a *stretch* is the longest row of
windows with one anchor. So windows can be compared within their anchor, and only anchors that
stand in several places need to be looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skywright.engine.compiled import compiled

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd; any constant of well-mixed bits does
_MIX_1 = np.uint64(0xFF51AFD7ED558CCD)  # fmix64 of MurmurHash3
_MIX_2 = np.uint64(0xC4CEB9FE1A85EC53)
_33 = np.uint64(33)


class Stretches(NamedTuple):
    """Of n stretches: anchors uint64, documents int64, firsts int32 (first window, by the place of
    its first token in the document), counts int32 (windows), twice bool (the anchor stands at two
    places or more within the stretch, so that it may hold two equal windows).
    """

    anchors: np.ndarray
    documents: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    twice: np.ndarray


@compiled
def _mix(h):  # type: ignore[no-untyped-def]
    h = (h ^ (h >> _33)) * _MIX_1
    h = (h ^ (h >> _33)) * _MIX_2
    return h ^ (h >> _33)


@compiled
def _roll(hashes, begin, end, width, out):  # type: ignore[no-untyped-def]
    """Put the hashes of the runs of `width` tokens of hashes[begin:end] into out, in order."""
    factor = np.uint64(1)
    for _ in range(width):
        factor *= _BASE
    run = np.uint64(0)  # sum of hash(t - k) * B^k over the last `width` tokens
    for t in range(begin, end):
        run = run * _BASE + hashes[t]
        if t - begin >= width:
            run -= hashes[t - width] * factor
        if t - begin >= width - 1:
            out[t - begin - width + 1] = _mix(run)


@compiled
def _stretches(hashes, offsets, size, width):  # type: ignore[no-untyped-def]
    room = len(hashes)
    anchors = np.empty(room, np.uint64)
    documents = np.empty(room, np.int64)
    firsts = np.empty(room, np.int32)
    counts = np.empty(room, np.int32)
    twice = np.zeros(room, np.bool_)
    runs = np.empty(room, np.uint64)
    reach = size - width + 1  # runs in a window
    n = 0
    for d in range(len(offsets) - 1):
        tokens = offsets[d + 1] - offsets[d]
        if tokens < size:
            continue
        _roll(hashes, offsets[d], offsets[d + 1], width, runs)
        place = -1  # the last run with the least hash
        least = np.uint64(0)
        for window in range(tokens - size + 1):
            last = window + reach - 1
            fresh = False
            again = False
            if place < window:
                fresh = True
                place = window
                least = runs[window]
                for i in range(window + 1, last + 1):
                    if runs[i] <= least:
                        again = runs[i] == least
                        least = runs[i]
                        place = i
            elif runs[last] < least:
                fresh = True
                least = runs[last]
                place = last
            elif runs[last] == least:
                place = last
                twice[n - 1] = True
            if fresh:
                anchors[n] = least
                documents[n] = d
                firsts[n] = window
                counts[n] = 0
                twice[n] = again
                n += 1
            counts[n - 1] += 1
    return anchors[:n], documents[:n], firsts[:n], counts[:n], twice[:n]


@compiled
def _windows(hashes, begins, counts, size, out):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(len(begins)):
        end = begins[i] + counts[i] + size - 1
        _roll(hashes, begins[i], end, size, out[at : at + counts[i]])
        at += counts[i]


@compiled
def _repeats(windows, starts):  # type: ignore[no-untyped-def]
    """True for what equals an earlier window between the same two starts."""
    repeated = np.zeros(len(windows), np.bool_)
    for b in range(len(starts) - 1):
        begin = starts[b]
        if starts[b + 1] - begin < 2:
            continue
        part = windows[begin : starts[b + 1]]
        order = np.argsort(part, kind="mergesort")  # stable: the earliest of equals comes first
        for i in range(1, len(order)):
            if part[order[i]] == part[order[i - 1]]:
                repeated[begin + order[i]] = True
    return repeated


def stretches(hashes: np.ndarray, offsets: np.ndarray, size: int, width: int) -> Stretches:
    """The stretches of the windows of `size` tokens of documents, in order.

    hashes uint64: tokens of the documents, one after another; offsets int64 (documents + 1).
    A document of fewer than `size` tokens has none. Of random tokens a window in about
    (size - width + 2) / 2 begins a stretch.
    """
    return Stretches(*_stretches(hashes, offsets, size, width))


def windows(hashes: np.ndarray, offsets: np.ndarray, found: Stretches, size: int) -> np.ndarray:
    """Hashes (uint64) of the windows of stretches of those documents, one after another.

    Two different windows share one with a chance of about 2^-64.
    """
    out = np.empty(int(found.counts.sum(dtype=np.int64)), np.uint64)
    _windows(hashes, offsets[found.documents] + found.firsts, found.counts, size, out)
    return out


def repeats(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """True for the values that stand earlier in their group; groups begin at `starts` (int64, with
    the end).
    """
    return np.asarray(_repeats(values, starts))
