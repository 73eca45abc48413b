"""Writing one shard of a token store, and the description that makes shards a store."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlm_data import atomic
from tlm_data.growing_file import GrowingFile
from tlm_data.integers import whole_number
from tlm_data.store_meta import (
    DTYPES,
    FORMAT,
    INDEX_DTYPE,
    MAX_VOCAB_SIZE,
    META_FILE,
    VERSION,
    check_meta,
    check_shards,
    dtype_name,
    summarize,
)

Ids = Sequence[int] | npt.NDArray[Any]

_TOKENS_STEP_BYTES = 8 << 20
_INDEX_STEP_BYTES = 1 << 16
_MAX_BYTES = (1 << 63) - 1


class ShardWriter:
    """Writes the token file `NAME.bin` and its index `NAME.idx`; they appear when it is closed.

    Whole documents come in batches, a document too long for memory in pieces. Ids are checked
    before any of them is written. Memory does not grow with the shard. What a killed writer left
    behind is removed by the next one of the same name.

    As a context manager it gives the shard up where the block raises; `close` publishes it.

    Args:
        folder: Where the shard goes; must exist.
        name: The files' name without suffix, such as `shard-00000`.
        vocab_size: Ids must be below this. It also chooses the dtype: uint16 up to 65,536.

    Raises:
        TypeError: `vocab_size` is not an integer.
        ValueError: It is not between 1 and 2**32.
        OSError: The disk is full.
    """

    def __init__(self, folder: str | Path, name: str, *, vocab_size: int) -> None:
        self._vocab_size = whole_number("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
        self._dtype = DTYPES[dtype_name(self._vocab_size)]
        self._num_tokens = 0
        self._num_documents = 0
        self._num_bytes = 0
        self._max_id = -1
        self._longest = 0
        self._before_open: tuple[int, int, int, Any] | None = None
        self._bin = GrowingFile(Path(folder) / f"{name}.bin", _TOKENS_STEP_BYTES)
        self._idx = GrowingFile(Path(folder) / f"{name}.idx", _INDEX_STEP_BYTES)
        try:
            self._add_ends(np.zeros(1, INDEX_DTYPE))
        except BaseException:
            self.abort()
            raise

    def __enter__(self) -> "ShardWriter":
        """Return the writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the shard up if the block raised, or did not close it."""
        self.abort()

    @property
    def num_tokens(self) -> int:
        """Tokens so far, those of an open document included."""
        return self._num_tokens

    @property
    def num_documents(self) -> int:
        """Whole documents so far."""
        return self._num_documents

    @property
    def num_bytes(self) -> int:
        """Bytes of text so far, those of an open document included."""
        return self._num_bytes

    def add_documents(self, ids: Ids, lengths: Ids, num_bytes: int) -> None:
        """Append whole documents; those without a token are left out.

        Args:
            ids: The token ids of all of them, (n,), integers.
            lengths: Tokens in each document, (k,), integers with sum n.
            num_bytes: Bytes of text that the ids stand for.

        Raises:
            TypeError: `num_bytes` is not an integer; nothing is written.
            ValueError: An id is not in the vocabulary, or the lengths do not add up to n;
                nothing is written.
            OSError: The disk is full.
        """
        if self._before_open is not None:
            raise ValueError(f"{self._bin.path}: end or discard the open document first")
        tokens = np.asarray(ids)
        lengths = _check_lengths(np.asarray(lengths), tokens.size)
        if lengths.size and not lengths.all():
            lengths = lengths[lengths > 0]
        start = self._num_tokens
        self._append(tokens, num_bytes)
        if lengths.size:
            self._add_ends(np.cumsum(lengths) + start)
            self._num_documents += lengths.size
            self._longest = max(self._longest, int(lengths.max()))

    def add_tokens(self, ids: Ids, num_bytes: int) -> None:
        """Append a piece of one long document, which is open until `end_document`.

        Args:
            ids: Token ids, (n,), integers.
            num_bytes: Bytes of text that the ids stand for.

        Raises:
            TypeError: `num_bytes` is not an integer; nothing of the piece is written.
            ValueError: An id is not in the vocabulary; nothing of the piece is written.
            OSError: The disk is full.
        """
        if self._before_open is None:
            state = self._num_tokens, self._num_bytes, self._max_id
            self._before_open = (*state, self._bin.mark())
        self._append(np.asarray(ids), num_bytes)

    def end_document(self) -> None:
        """End the open document; without one, or when it has no token, nothing happens."""
        if self._before_open is None:
            return
        length = self._num_tokens - self._before_open[0]
        self._before_open = None
        if length:
            self._add_ends(np.array([self._num_tokens]))
            self._num_documents += 1
            self._longest = max(self._longest, length)

    def discard_document(self) -> None:
        """Take the open document back, as if it had never been; without one nothing happens."""
        if self._before_open is None:
            return
        self._num_tokens, self._num_bytes, self._max_id, end = self._before_open
        self._before_open = None
        self._bin.rewind(end)

    def close(self) -> dict[str, Any]:
        """Publish both files under their names and return the shard's entry in `meta.json`.

        Raises:
            ValueError: A document is open.
            OSError: The disk is full.
        """
        if self._before_open is not None:
            raise ValueError(f"{self._bin.path}: end or discard the open document first")
        checksum, index_checksum = self._bin.finish(), self._idx.finish()
        self._idx.publish()
        self._bin.publish()
        atomic.fsync_path(self._bin.path.parent)
        return {
            "file": self._bin.path.name,
            "index": self._idx.path.name,
            "num_tokens": self._num_tokens,
            "num_documents": self._num_documents,
            "num_bytes": self._num_bytes,
            "max_id": self._max_id,
            "longest_document_tokens": self._longest,
            "xxh3_128": checksum,
            "index_xxh3_128": index_checksum,
        }

    def abort(self) -> None:
        """Give the shard up: remove what was written; after `close` nothing happens."""
        self._bin.abort()
        self._idx.abort()

    def _append(self, tokens: npt.NDArray[Any], num_bytes: int) -> None:
        num_bytes = whole_number("num_bytes", num_bytes, 0, _MAX_BYTES - self._num_bytes)
        if tokens.size:
            max_id = check_ids(tokens, self._vocab_size)
            self._bin.write(np.ascontiguousarray(tokens, dtype=self._dtype).data)
            self._num_tokens += tokens.size
            self._max_id = max(self._max_id, max_id)
        self._num_bytes += num_bytes

    def _add_ends(self, ends: npt.NDArray[Any]) -> None:
        self._idx.write(ends.astype(INDEX_DTYPE).data)


def _check_lengths(lengths: npt.NDArray[Any], num_tokens: int) -> npt.NDArray[np.int64]:
    if not lengths.size:
        lengths = lengths.astype(np.int64)  # numpy makes an empty list one of floats
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1:
        raise ValueError(
            f"lengths must be integers in one dimension, not {lengths.dtype} of shape "
            f"{lengths.shape}"
        )
    smallest, largest = (int(lengths.min()), int(lengths.max())) if lengths.size else (0, 0)
    # Each is checked first, so that the sum cannot wrap.
    if smallest < 0 or largest > num_tokens or int(lengths.sum()) != num_tokens:
        raise ValueError(
            f"lengths must add up to the {num_tokens} ids, but {lengths.size} documents of "
            f"{smallest} to {largest} tokens do not"
        )
    return lengths.astype(np.int64, copy=False)


def check_ids(tokens: npt.NDArray[Any], vocab_size: int) -> int:
    """Return the largest of some ids, if all are integers in 0..vocab_size-1.

    Args:
        tokens: At least one id, (n,).
        vocab_size: Size of the vocabulary.

    Raises:
        ValueError: They are not; the message names one that is not.
    """
    if tokens.dtype.kind not in "iu" or tokens.ndim != 1:
        raise ValueError(
            f"token ids must be integers in one dimension, not {tokens.dtype} of shape "
            f"{tokens.shape}"
        )
    # Read as unsigned, a negative id is larger than every vocabulary: one pass finds both.
    largest = int(tokens.view(tokens.dtype.str.replace("i", "u")).max())
    if largest >= vocab_size:
        smallest = int(tokens.min())
        wrong = smallest if smallest < 0 else int(tokens.max())
        raise ValueError(f"token id {wrong} is outside the vocabulary 0..{vocab_size - 1}")
    return largest


def write_meta(
    folder: str | Path,
    *,
    vocab_size: int,
    tokenizer_fingerprint: str,
    shards: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Write `meta.json` beside closed shards, which makes the folder a token store.

    Args:
        folder: Where the shards are.
        vocab_size: What the shards were written with.
        tokenizer_fingerprint: Says which tokenizer made the ids.
        shards: What `ShardWriter.close` returned, in the order of the text.

    Returns:
        What was written.

    Raises:
        TypeError: `vocab_size` is not an integer, or `tokenizer_fingerprint` not a string.
        ValueError: They do not fit the shards, or an entry of `shards` lacks something; then
            nothing is written.
    """
    check_fingerprint(tokenizer_fingerprint)
    file = Path(folder) / META_FILE
    shards = list(shards)
    check_shards(file, shards)
    vocab_size = whole_number("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype_name(vocab_size),
        "vocab_size": vocab_size,
        "tokenizer_fingerprint": tokenizer_fingerprint,
        **summarize(shards),
        "shards": shards,
    }
    check_meta(file, meta)
    atomic.write_file(file, json.dumps(meta, indent=2) + "\n")
    return meta


def check_fingerprint(tokenizer_fingerprint: str) -> None:
    """Refuse what `meta.json` could not hold as the tokenizer's fingerprint.

    Raises:
        TypeError: It is not a string.
    """
    if not isinstance(tokenizer_fingerprint, str):
        raise TypeError(f"tokenizer_fingerprint={tokenizer_fingerprint!r} must be a string")
