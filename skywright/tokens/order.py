"""The order itself, compiled: seeded permutations without state, and a sample's place from them.

Nothing here is drawn from a library's generator, whose stream may change between versions: the
mixing function stands in this file, and integers give the same bits on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skywright.engine.compiled import compiled
from skywright.engine.files import stable_hash

Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]

# splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014;
# constants of Vigna's reference implementation).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)

_ROUNDS = 6  # four make a Feistel network pseudo-random (Luby and Rackoff 1988); two to spare


class Segment(NamedTuple):
    """One segment of a plan as the kernel reads it; S columns are the segment's sources.

    counts (blocks + 1, S) uint32: samples of each source before each block; samples; block:
    samples a block; drawn, windows, first_pass (S,) int64: draws of each source before the
    segment, windows of one pass, number of its pass 0; keys (S,) uint64 and key: seeds.
    """

    counts: NDArray[np.uint32]
    samples: int
    block: int
    drawn: Integers
    windows: Integers
    first_pass: Integers
    keys: Keys
    key: np.uint64


def key_of(*parts: int | str) -> np.uint64:
    """A 64-bit key of whole numbers and names, stable between processes and versions."""
    return np.uint64(int(stable_hash(list(parts))[:16], 16))


@compiled
def mix(value):  # type: ignore[no-untyped-def]
    """splitmix64's output function on one uint64."""
    mixed = value + _GOLDEN
    mixed = (mixed ^ (mixed >> _30)) * _MIX_1
    mixed = (mixed ^ (mixed >> _27)) * _MIX_2
    return mixed ^ (mixed >> _31)


@compiled
def _image(value, size, key):  # type: ignore[no-untyped-def]
    """The image of `value` under the permutation of 0..size-1 that `key` names.

    A Feistel network over the next even power of two, walked until the image is in range (Black
    and Rogaway 2002, cycle walking): constant time and no memory for any size.
    """
    half = np.uint64(1)
    while (np.int64(1) << np.int64(half + half)) < size:
        half += np.uint64(1)
    mask = (np.uint64(1) << half) - np.uint64(1)
    image = np.uint64(value)
    while True:
        left, right = image >> half, image & mask
        round_key = key
        for _ in range(_ROUNDS):
            round_key += _GOLDEN
            left, right = right, left ^ (mix(right ^ mix(round_key)) & mask)
        image = (left << half) | right
        if image < np.uint64(size):
            return np.int64(image)


@compiled
def _permute(values, size, key, out):  # type: ignore[no-untyped-def]
    for i in range(values.size):
        out[i] = _image(values[i], size, key)


@compiled
def _locate(samples, counts, length, block, drawn, windows, first_pass, keys, key, out):  # type: ignore[no-untyped-def]
    for i in range(samples.size):
        number = samples[i] // block
        within = samples[i] - number * block
        size = min(block, length - number * block)
        # A block's slots are its sources' draws, source after source; the order mixes them.
        slot = _image(within, size, mix(np.uint64(number) ^ key))
        column = 0
        held = np.int64(counts[number + 1, 0]) - np.int64(counts[number, 0])
        while slot >= held:
            slot -= held
            column += 1
            held = np.int64(counts[number + 1, column]) - np.int64(counts[number, column])
        draw = drawn[column] + np.int64(counts[number, column]) + slot
        turn = draw // windows[column]
        turn_key = mix(keys[column] ^ np.uint64(first_pass[column] + turn))
        out[0, i] = column
        out[1, i] = draw
        out[2, i] = first_pass[column] + turn
        out[3, i] = _image(draw - turn * windows[column], windows[column], turn_key)


@compiled
def _mix_in(keys, numbers, out):  # type: ignore[no-untyped-def]
    for i in range(keys.size):
        out[i] = mix(keys[i] ^ mix(np.uint64(numbers[i])))


def mixed(key: Keys | np.uint64, *numbers: Integers) -> Keys:
    """Keys uint64 of a key and whole numbers, all of shapes that broadcast to one."""
    for number in numbers:
        keys, values = np.broadcast_arrays(key, number)
        out = np.empty(keys.shape, dtype=np.uint64)
        _mix_in(keys.flatten(), values.astype(np.int64).flatten(), out.reshape(-1))
        key = out
    return np.asarray(key, dtype=np.uint64)


def permute(values: Integers, size: int, key: np.uint64) -> Integers:
    """The images of `values` (each in 0..size-1) under a permutation of 0..size-1 named by `key`.

    Shape is kept. See `_image`.
    """
    flat = np.ascontiguousarray(values, dtype=np.int64).reshape(-1)
    out = np.empty_like(flat)
    _permute(flat, np.int64(size), key, out)
    return out.reshape(np.shape(values))


def locate(segment: Segment, samples: Integers) -> tuple[Integers, Integers, Integers, Integers]:
    """Column, draw, pass and window of samples (n,), counted from the segment's beginning."""
    out = np.empty((4, samples.size), dtype=np.int64)
    _locate(
        samples, segment.counts, segment.samples, segment.block, segment.drawn, segment.windows,
        segment.first_pass, segment.keys, segment.key, out,
    )  # fmt: skip
    return out[0], out[1], out[2], out[3]
