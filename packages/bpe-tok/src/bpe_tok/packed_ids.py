"""Token ids of two or four bytes each."""

from array import array

TYPECODES = {array(code).itemsize: code for code in "LIH"}
"""The typecode of `array.array` for unsigned integers of so many bytes."""


def id_width(vocab_size: int) -> int:
    """Return how many bytes hold an id: 2 if there are at most 65,536, else 4."""
    return 2 if vocab_size <= 1 << 16 else 4
