"""Random numbers that are computed from their place in a stream, in any order."""

from typing import Any

import numpy as np
import numpy.typing as npt

UInt64s = npt.NDArray[np.uint64]

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ONE, _27, _30, _31 = (np.uint64(number) for number in (1, 27, 30, 31))
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def stream_key(*entropy: int) -> UInt64s:
    """Return a key for `hash64`, uint64 (1,), that depends on all of `entropy`.

    Args:
        entropy: Whole numbers, not negative, such as a seed and the number of a use.
    """
    # numpy puts the 32-bit words of all numbers in one line, with and without zeros at its end the
    # same. So it is told how many numbers there are, and after a zero how many words each has,
    # where it is more than one.
    form = [len(entropy)]
    if max(entropy) >> 32:
        form = [0, *form, *(max(1, -(-number.bit_length() // 32)) for number in entropy)]
    seed = np.random.SeedSequence([*form, *entropy])
    key: UInt64s = seed.generate_state(1, np.uint64).astype(np.uint64)
    return key


def hash64(keys: UInt64s, numbers: npt.NDArray[Any]) -> UInt64s:
    """Return the random number at each place of a stream.

    It is SplitMix64 (Steele, Lea & Flood 2014, https://doi.org/10.1145/2660193.2660195) with the
    key as its seed, where `numbers` count its outputs from 0.

    Args:
        keys: uint64, broadcast against `numbers`.
        numbers: Whole numbers from 0, of any integer dtype.

    Returns:
        uint64, uniform over all of it.

    Example:
        >>> hash64(np.array([1234567], dtype=np.uint64), np.arange(2)).tolist()
        [6457827717110365317, 3203168211198807973]
    """
    z: UInt64s = (numbers.astype(np.uint64) + _ONE) * _GAMMA + keys
    z ^= z >> _30
    z *= _MULTIPLIERS[0]
    z ^= z >> _27
    z *= _MULTIPLIERS[1]
    z ^= z >> _31
    return z
