"""A random order of any number of things that is computed, and never held in memory."""

import math

import numpy as np
import numpy.typing as npt

from tlm_data.hashing import UInt64s, hash64

Int64s = npt.NDArray[np.int64]

_ROUNDS = 8
_SMALL_SIZE = 64


def permute(places: Int64s, size: int, keys: UInt64s) -> Int64s:
    """Return which thing stands at each place, in the order of a key.

    Over all places it is a bijection of 0..size-1. It is a Feistel network over a rectangle
    hardly larger than `size`, with another turn for what falls outside of 0..size-1 (Black &
    Rogaway 2002, "Ciphers with arbitrary finite domains", generalized Feistel and cycle walking).
    Of few things, whose orders can be told apart by counting them, all are as likely: they are
    sorted by random numbers.

    Args:
        places: int64, (n,), each from 0 to size - 1.
        size: Number of things, at most 2**62.
        keys: uint64, (1,), or (n,) for places of several orders.

    Returns:
        int64, (n,).

    Example:
        >>> from tlm_data.hashing import stream_key
        >>> sorted(permute(np.arange(5), 5, stream_key(0)).tolist())
        [0, 1, 2, 3, 4]
    """
    if size <= _SMALL_SIZE:
        distinct, which = np.unique(keys, return_inverse=True)
        orders = np.argsort(hash64(distinct[:, None], np.arange(size)), axis=1)
        return orders[which, places]
    height = math.isqrt(size - 1) + 1
    width = -(-size // height)
    found = _network(places.astype(np.uint64), height, width, keys)
    while (outside := np.flatnonzero(found >= size)).size:
        their_keys = keys if keys.size == 1 else keys[outside]
        found[outside] = _network(found[outside], height, width, their_keys)
    return found.astype(np.int64)


def _network(cells: UInt64s, height: int, width: int, keys: UInt64s) -> UInt64s:
    # Each round turns one coordinate by what the other one and the key say, and can be undone.
    turning, other = np.divmod(cells, np.uint64(width))
    turning_size, other_size = np.uint64(height), np.uint64(width)
    for number in range(_ROUNDS):
        turn = hash64(hash64(keys, np.array([number])), other)
        turn >>= np.uint64(1)  # leaves room for the sum
        turning = (turning + turn) % turning_size
        turning, other = other, turning
        turning_size, other_size = other_size, turning_size
    # An even number of rounds leaves the two in their places.
    found: UInt64s = turning * other_size + other
    return found
