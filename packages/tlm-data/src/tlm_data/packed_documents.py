"""Documents packed into rows, each document once an epoch and none cut that fits."""

from bisect import bisect_right
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tlm_data.gather import fingerprint, require_length
from tlm_data.hashing import hash64, stream_key
from tlm_data.integers import whole_number
from tlm_data.packed_rows import PackedRows
from tlm_data.permutation import permute
from tlm_data.read_ahead import expect_random_reads, start_reading
from tlm_data.samples import Batch, Samples, concatenate, require_range
from tlm_data.token_store import TokenStore

Int64s = npt.NDArray[np.int64]


_BLOCK_TOKENS = 1 << 17
_BLOCK_ROWS = 4


class PackedDocuments(Samples):
    """Rows packed with whole documents, for models that see no further than their document.

    A document of n tokens gives n - 1 inputs and n - 1 targets. One that is longer than a row is
    cut into full rows and a rest, which is packed as other documents are. Blocks of the store
    come in a computed random order, another one each epoch; the documents that start in some
    blocks, a group of them, are packed together by best fit, and the rows of a group are
    shuffled. What does not fill a row is padding: inputs 0, targets `IGNORE`, and the document id
    of one more document. Rows go on without end.

    The number of rows in a group is known when it is packed. So rows that are asked for in turn
    are found at once, and a far one after the groups before it are packed, or by a cursor.

    Args:
        store: The tokens and where documents start.
        context_length: Inputs in a row.
        seed: Fixes the order and the packing; not negative.
        block_tokens: Tokens that are read in one piece, and up to a row more; 131,072 or four
            rows if None, whichever is more.
        group_tokens: About how many tokens are packed together, one block at least; memory grows
            with them, and not with the store.

    Raises:
        TypeError: `store` is no TokenStore, and so has no documents.
        ValueError: The store has fewer than two tokens, or a size is not positive.
    """

    has_documents = True

    def __init__(
        self,
        store: TokenStore,
        context_length: int,
        *,
        seed: int,
        block_tokens: int | None = None,
        group_tokens: int = 1 << 22,
    ) -> None:
        if not isinstance(store, TokenStore):
            raise TypeError(
                f"store={type(store).__name__} must be a TokenStore, which knows where documents "
                "start: write one with TokenStoreWriter, or open one with TokenStore.open"
            )
        num_tokens = require_length(store, 2)
        self.store = store
        self.context_length = whole_number("context_length", context_length, 1)
        self.seed = whole_number("seed", seed, 0)
        if block_tokens is None:
            block_tokens = max(_BLOCK_TOKENS, _BLOCK_ROWS * self.context_length)
        self.block_tokens = whole_number("block_tokens", block_tokens, 1)
        self.group_tokens = whole_number("group_tokens", group_tokens, 1)
        self._order_key, self._rows_key = stream_key(self.seed, 0), stream_key(self.seed, 1)
        self._num_blocks = -(-num_tokens // self.block_tokens)
        # Groups of an epoch are of one size as nearly as can be, so that all are packed well.
        self._epoch_groups = max(1, round(num_tokens / self.group_tokens))
        self._epoch_groups = min(self._epoch_groups, self._num_blocks)
        self._buffer: npt.NDArray[Any] | None = None
        self.seek([0, 0])

    def settings(self) -> dict[str, Any]:
        """Return what the rows depend on."""
        return {
            "samples": "packed documents",
            "tokens": fingerprint(self.store),
            "context_length": self.context_length,
            "seed": self.seed,
            "block_tokens": self.block_tokens,
            "group_tokens": self.group_tokens,
        }

    def cursor(self, number: int) -> list[int]:
        """Return the group that holds row `number`, and the number of its first row."""
        index = self._find(number)
        return [self._first_group + index, self._first_rows[index]]

    def seek(self, cursor: list[int]) -> None:
        """Go on from a group whose first row is known.

        Raises:
            ValueError: The cursor is not a group and its first row.
        """
        if not (isinstance(cursor, list) and len(cursor) == 2):
            raise ValueError(f"cursor={cursor!r} must be a group and the number of its first row")
        first_group, first_row = (whole_number("cursor", value, 0) for value in cursor)
        # The number of the first row of each group from there on, as far as they were packed.
        self._first_group, self._first_rows = first_group, [first_row]
        self._loaded: _Group | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is read and packed again where it is needed."""
        return self.__dict__ | {"_buffer": None, "_loaded": None}

    def rows(self, numbers: range) -> Batch:
        """Return rows by their numbers."""
        require_range(numbers)
        parts: list[Batch] = []
        start = numbers.start
        while start < numbers.stop or not parts:
            index = self._find(start)
            group, first_row = self._load(self._first_group + index), self._first_rows[index]
            stop = min(numbers.stop, first_row + group.rows.num_rows)
            parts.append(group.rows.take(start - first_row, stop - first_row))
            start = stop
        return concatenate(parts)

    def _find(self, number: int) -> int:
        """Return the place in `_first_rows` of the group that holds a row."""
        first_rows = self._first_rows
        if number < first_rows[0]:
            self.seek([0, 0])
            first_rows = self._first_rows
        while first_rows[-1] <= number:
            group = self._load(self._first_group + len(first_rows) - 1)
            first_rows.append(first_rows[-1] + group.rows.num_rows)
            # Two epochs of groups without a row have a whole epoch among them.
            span = 2 * self._epoch_groups
            if first_rows[-span - 1 : -span] == first_rows[-1:]:
                raise ValueError(
                    "no document of the corpus has two tokens: there is nothing to learn"
                )
        return bisect_right(first_rows, number) - 1

    def _load(self, number: int) -> "_Group":
        if self._loaded is None or self._loaded.number != number:
            self._loaded = None  # the next one is read over its tokens, which may fail midway
            self._loaded = self._make_group(number)
        return self._loaded

    def _make_group(self, number: int) -> "_Group":
        epoch, place = divmod(number, self._epoch_groups)
        first, stop = (self._num_blocks * p // self._epoch_groups for p in (place, place + 1))
        key = hash64(self._order_key, np.array([epoch]))
        blocks = permute(np.arange(first, stop), self._num_blocks, key)
        begins = blocks * self.block_tokens
        block_ends = np.minimum(begins + self.block_tokens, len(self.store))
        spans = [
            self.store.document_spans(*span)
            for span in zip(begins.tolist(), block_ends.tolist(), strict=True)
        ]
        of_block = np.repeat(np.arange(len(blocks)), [len(starts) for starts, _ in spans])
        documents, starts, lengths = cut_documents(
            np.concatenate([starts for starts, _ in spans]),
            np.concatenate([ends for _, ends in spans]),
            begins[of_block],
            block_ends[of_block],
            self.context_length,
        )
        # A piece may reach out of its block by a row and the last target.
        read_ends = np.minimum(block_ends + self.context_length, len(self.store))
        read_before = np.cumsum(read_ends - begins) - (read_ends - begins)
        starts += (read_before - begins)[of_block][documents]
        tokens = self._read(begins.tolist(), read_ends.tolist())
        rows_key = hash64(self._rows_key, np.array([number]))
        return _Group(number, PackedRows(tokens, starts, lengths, self.context_length, rows_key))

    def _read(self, begins: list[int], ends: list[int]) -> npt.NDArray[Any]:
        parts = [self.store[begin:end] for begin, end in zip(begins, ends, strict=True)]
        for part in parts:
            start_reading(part)
        size = sum(map(len, parts))
        if self._buffer is None:
            expect_random_reads(self.store.shards)
        if self._buffer is None or len(self._buffer) < size:
            self._buffer = np.empty(size, parts[0].dtype)
        # The memory of the last group is used again: new memory costs more than the copy.
        return np.concatenate(parts, out=self._buffer[:size])


def cut_documents(
    starts: Int64s, ends: Int64s, begins: Int64s, stops: Int64s, context_length: int
) -> tuple[Int64s, Int64s, Int64s]:
    """Cut documents into pieces of at most a row, and keep those that start in a block.

    Args:
        starts: Where documents start, int64 (documents,).
        ends: Where they end.
        begins: Where the block begins, for each document.
        stops: Where it ends.
        context_length: Inputs in a row.

    Returns:
        For each piece the index of its document, its start and its number of inputs, int64; one
        more token follows, the target of the last.
    """
    pieces_before = np.maximum(-((starts - begins) // context_length), 0)
    firsts = starts + pieces_before * context_length
    # The last token of a document is a target and no input.
    counts = np.maximum(-((firsts - np.minimum(stops, ends - 1)) // context_length), 0)
    documents = np.repeat(np.arange(len(starts)), counts)
    number = np.arange(len(documents)) - (np.cumsum(counts) - counts)[documents]
    piece_starts = firsts[documents] + number * context_length
    return documents, piece_starts, np.minimum(context_length, ends[documents] - 1 - piece_starts)


class _Group(NamedTuple):
    number: int
    rows: PackedRows
