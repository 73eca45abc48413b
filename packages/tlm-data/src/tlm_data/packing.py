"""Best-fit packing of pieces into rows, by the histogram of their lengths."""

from array import array
from collections import defaultdict

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def pack(lengths: Int64s, capacity: int) -> tuple[Int64s, int]:
    """Put pieces into rows of equal capacity, few of them.

    Best fit, the longest first (Johnson et al. 1974, https://doi.org/10.1137/0203025): each piece
    goes where the least space is left that it fits in. Pieces of one length are placed together,
    so that the work grows with the number of distinct lengths, hardly with that of pieces.

    Args:
        lengths: int64, (n,), each from 1 to `capacity`.
        capacity: What fits in a row.

    Returns:
        The row of each piece, int64 (n,), and the number of rows.

    Example:
        >>> rows, num_rows = pack(np.array([3, 7, 5, 2, 3]), capacity=10)
        >>> rows.tolist(), num_rows
        ([0, 0, 1, 1, 1], 2)
    """
    order = sort_order(capacity - lengths)
    counts = np.bincount(lengths, minlength=1)
    distinct = np.flatnonzero(counts)[::-1]
    placed = array("q")  # the rows of the pieces in `order`
    num_rows = 0
    # Rows, by the space left in them.
    with_space: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))
    spaces = 0  # bit s is set where there are rows with space s
    for length, count in zip(distinct.tolist(), counts[distinct].tolist(), strict=True):
        while count:
            wide_enough = spaces >> length
            if wide_enough:
                space = length + (wide_enough & -wide_enough).bit_length() - 1
                rows = with_space[space][-count:]
                del with_space[space][-count:]
                if not with_space[space]:
                    spaces ^= 1 << space
            else:
                space = capacity
                opened = -(-count // (capacity // length))
                rows = array("q", range(num_rows, num_rows + opened))
                num_rows += opened
            placed += rows
            count -= len(rows)
            if left := space - length:
                with_space[left] += rows
                spaces |= 1 << left
    result = np.empty(len(lengths), np.int64)
    result[order] = np.frombuffer(placed, np.int64)
    return result, num_rows


def sort_order(numbers: Int64s) -> Int64s:
    """Return the indices that sort whole numbers from 0 on; equal ones keep their order."""
    if len(numbers) and numbers.max() < 1 << 16:
        numbers = numbers.astype(np.uint16)  # sorted in one pass
    return np.argsort(numbers, kind="stable")
