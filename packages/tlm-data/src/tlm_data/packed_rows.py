"""Rows that hold pieces of documents one after the other, and padding."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tlm_data.hashing import UInt64s, hash64
from tlm_data.packing import pack, sort_order
from tlm_data.samples import IGNORE, Batch

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CHUNK_TOKENS = 1 << 17
_MOST_BETWEEN = 2
_BLOCK_WIDTHS = (128, 16, 1)


class PackedRows:
    """The rows that some pieces of documents fill, in random order.

    Args:
        tokens: Where the pieces are, (n,), any integer dtype.
        starts: Where each piece starts, int64 (pieces,).
        lengths: Inputs in each piece, int64 (pieces,), from 1 to `context_length`; one more
            token follows, the target of the last.
        context_length: Inputs in a row.
        key: Fixes which pieces come together, and the order of the rows; uint64 (1,).

    Attributes:
        num_rows: Number of rows.
    """

    def __init__(
        self, tokens: Array, starts: Int64s, lengths: Int64s, context_length: int, key: UInt64s
    ) -> None:
        self._tokens = tokens
        self._context_length = context_length
        shuffled = np.argsort(hash64(key, np.arange(len(starts))))
        starts, lengths = starts[shuffled], lengths[shuffled]
        rows, self.num_rows = pack(lengths, context_length)
        filled = np.bincount(rows, lengths, self.num_rows).astype(np.int64)
        padded = np.flatnonzero(filled < context_length)
        # Padding is the last piece of its row, and starts nowhere.
        starts = np.concatenate([starts, np.full(len(padded), -1)])
        lengths = np.concatenate([lengths, context_length - filled[padded]])
        rows = np.concatenate([rows, padded])
        rows = np.argsort(hash64(key + key, np.arange(self.num_rows)))[rows]
        order = sort_order(rows)
        starts, self._lengths, rows = starts[order], lengths[order], rows[order]
        # Rows are full with their padding, so that they are one line of pieces.
        begins = np.cumsum(self._lengths) - self._lengths
        self._row_pieces = rows.searchsorted(np.arange(self.num_rows + 1))
        self._begins_in_row = (begins - rows * context_length).astype(np.int32)
        self._ends = begins + self._lengths
        self._last_targets = tokens.take(starts + self._lengths, mode="clip").astype(np.int64)
        self._is_padding = starts < 0

        # Pieces are copied in blocks of a few widths, many in one call.
        widths = [context_length, *(width for width in _BLOCK_WIDTHS if width < context_length)]
        longest = context_length + 1
        self._blocks = []
        for width in widths:
            chosen = (starts >= 0) & (self._lengths >= width) & (self._lengths < longest)
            self._blocks.append(_Blocks(starts, begins, self._lengths, chosen, width))
            longest = width
        self._chunk: tuple[int, int, tuple[Array, ...]] = 0, 0, ()
        self._given = 0

    def take(self, first: int, stop: int) -> Batch:
        """Return the rows from `first` to before `stop`, from 0 to `num_rows`."""
        chunk_first, chunk_stop, chunk = self._chunk
        if first < self._given or stop > chunk_stop:
            # Rows that are asked for in turn are made many at once, which is much faster, even
            # where some between are those of other ranks.
            in_turn = 0 <= first - self._given <= _MOST_BETWEEN * (stop - first)
            ahead = _CHUNK_TOKENS // self._context_length if in_turn else 0
            chunk_first, chunk_stop = first, min(max(stop, first + ahead), self.num_rows)
            chunk = self._make(chunk_first, chunk_stop)
            self._chunk = chunk_first, chunk_stop, chunk
        # Each row of a chunk is given away once, for whoever has it may write into it.
        self._given = stop
        own = slice(first - chunk_first, stop - chunk_first)
        return Batch(*(torch.from_numpy(part[own]) for part in chunk))

    def _make(self, first: int, stop: int) -> tuple[Array, ...]:
        """Return inputs, targets and document ids of rows."""
        shape, begin = (stop - first, self._context_length), first * self._context_length
        pieces = slice(int(self._row_pieces[first]), int(self._row_pieces[stop]))
        line = np.zeros(shape[0] * shape[1], self._tokens.dtype)
        for blocks in self._blocks:
            blocks.copy(self._tokens, line, pieces, begin)
        inputs, targets = line.astype(np.int64), np.empty(len(line), np.int64)
        # The next input is the target, but where a piece ends.
        targets[:-1] = line[1:]
        ends = self._ends[pieces] - begin
        targets[ends - 1] = self._last_targets[pieces]
        for index in np.flatnonzero(self._is_padding[pieces]).tolist():
            targets[ends[index] - self._lengths[pieces.start + index] : ends[index]] = IGNORE
        document_ids = np.repeat(self._begins_in_row[pieces], self._lengths[pieces])
        return tuple(part.reshape(shape) for part in (inputs, targets, document_ids))


class _Blocks:
    """Where the tokens of some pieces are and belong, in blocks of one width.

    The last block of a piece ends where the piece does, and so may hold tokens of the block
    before once more.
    """

    def __init__(
        self, starts: Int64s, begins: Int64s, lengths: Int64s, chosen: Bools, width: int
    ) -> None:
        counts = np.where(chosen, -(-lengths // width), 0)
        self._width = width
        self._before = np.concatenate([[0], np.cumsum(counts)])
        piece = np.repeat(np.arange(len(counts)), counts)
        offsets = (np.arange(len(piece)) - self._before[piece]) * width
        offsets = np.minimum(offsets, (lengths - width)[piece])
        self._sources = starts[piece] + offsets
        self._places = begins[piece] + offsets

    def copy(self, tokens: Array, line: Array, pieces: slice, begin: int) -> None:
        """Copy what belongs to pieces from tokens to a line that starts at a place."""
        blocks = slice(int(self._before[pieces.start]), int(self._before[pieces.stop]))
        if blocks.start < blocks.stop:
            places, sources = self._places[blocks] - begin, self._sources[blocks]
            _windows(line, self._width)[places] = _windows(tokens, self._width)[sources]


def _windows(tokens: Array, width: int) -> Array:
    """Return all windows of a width as rows; as numpy's sliding_window_view, but at once."""
    strides = (tokens.itemsize, tokens.itemsize)
    shape = (len(tokens) - width + 1, width)
    windows: Array = np.ndarray(shape, tokens.dtype, tokens, strides=strides)
    return windows
