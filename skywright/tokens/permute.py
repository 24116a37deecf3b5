"""Seeded permutations that need no state and no memory, the same on every machine and version.

NumPy may change the stream of its generators between versions; a training order must not
change, so the mixing function stands here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skywright.engine.files import stable_hash

Integers = NDArray[np.int64]
Keys = NDArray[np.uint64]

# splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014;
# constants of Vigna's reference implementation).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

_ROUNDS = 6  # four make a Feistel network pseudo-random (Luby and Rackoff 1988); two to spare


def mix(values: Keys) -> Keys:
    """splitmix64's output function on each uint64; any shape."""
    mixed = values + _GOLDEN
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _MIX_1
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX_2
    return mixed ^ (mixed >> np.uint64(31))


def key_of(*parts: int | str) -> np.uint64:
    """A 64-bit key of whole numbers and names, stable between processes and versions."""
    return np.uint64(int(stable_hash(list(parts))[:16], 16))


def permute(values: Integers, size: int, key: np.uint64) -> Integers:
    """The images of `values` (each in 0..size-1) under a permutation of 0..size-1 named by `key`.

    A Feistel network over the next even power of two, walked until the image is in range
    (Black and Rogaway 2002, cycle walking): constant memory for any size. Shape is kept.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    shift, mask = np.uint64(half), np.uint64((1 << half) - 1)
    round_keys = mix(key + np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN)
    result = np.asarray(values).astype(np.uint64)
    flat = result.reshape(-1)
    walking = np.arange(flat.size)
    while walking.size:
        part = flat[walking]
        left, right = part >> shift, part & mask
        for round_key in round_keys:
            left, right = right, left ^ (mix(right ^ round_key) & mask)
        part = (left << shift) | right
        flat[walking] = part
        walking = walking[part >= np.uint64(size)]
    return flat.reshape(result.shape).astype(np.int64)


def block_orders(blocks: Integers, sizes: Integers, key: np.uint64) -> Integers:
    """A permutation for each block: row i holds 0..sizes[i]-1 in the order of block blocks[i].

    Shape (len(blocks), max(sizes)); a row shorter than that ends with the positions it lacks.
    """
    width = int(sizes.max())
    positions = np.arange(width, dtype=np.uint64)
    seeds = mix(blocks.astype(np.uint64) ^ key)
    ranks = mix(seeds[:, None] + positions[None, :] * _GOLDEN)
    # Positions past the end sort last; a stable sort keeps them there even in a tie.
    ranks[positions[None, :] >= sizes.astype(np.uint64)[:, None]] = np.iinfo(np.uint64).max
    return np.argsort(ranks, axis=1, kind="stable").astype(np.int64)
