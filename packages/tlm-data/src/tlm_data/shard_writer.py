"""Writing one shard of a token store, and the description that makes shards a store."""

import glob
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from tlm_data import atomic
from tlm_data.store_meta import (
    DTYPES,
    FORMAT,
    INDEX_DTYPE,
    META_FILE,
    VERSION,
    dtype_name,
    summarize,
)

Ids = Sequence[int] | npt.NDArray[Any]

RESERVE_BYTES = 8 << 20
_BUFFER_BYTES = 1 << 17


class ShardWriter:
    """Writes the token file `NAME.bin` and its index `NAME.idx`; they appear when it is closed.

    Whole documents come in batches, a document too long for memory in pieces. Ids are checked
    before any of them is written. Memory does not grow with the shard, but for eight bytes a
    document. What a killed writer left behind is removed by the next one of the same name.

    As a context manager it gives the shard up where the block raises; `close` publishes it.

    Args:
        folder: Where the shard goes; must exist.
        name: The files' name without suffix, such as `shard-00000`.
        vocab_size: Ids must be below this. It also chooses the dtype: uint16 up to 65,536.
    """

    def __init__(self, folder: str | Path, name: str, *, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._dtype = DTYPES[dtype_name(vocab_size)]
        self._bin = Path(folder) / f"{name}.bin"
        self._idx = Path(folder) / f"{name}.idx"
        for path in (self._bin, self._idx):
            for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*"):
                left_behind.unlink(missing_ok=True)
        self._temporary = atomic.temporary_sibling(self._bin)
        self._raw = io.FileIO(self._temporary, "xb")
        self._file = io.BufferedWriter(self._raw, _BUFFER_BYTES)
        self._reserved_bytes = 0
        self._digest = xxhash.xxh3_128()
        self._num_tokens = 0
        self._num_documents = 0
        self._num_bytes = 0
        self._max_id = -1
        self._longest = 0
        self._ends: list[npt.NDArray[np.int64]] = []
        self._before_open: tuple[int, int, int, Any] | None = None

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
            ValueError: An id is not in the vocabulary, or the lengths do not add up to n;
                nothing is written.
            OSError: The disk is full.
        """
        if self._before_open is not None:
            raise ValueError(f"{self._bin}: end or discard the open document first")
        lengths = np.asarray(lengths, dtype=np.int64)
        tokens = np.asarray(ids)
        if int(lengths.sum()) != tokens.size or (lengths.size and int(lengths.min()) < 0):
            raise ValueError(
                f"lengths must add up to the {tokens.size} ids, but are {int(lengths.sum())} "
                f"in all for {lengths.size} documents"
            )
        if lengths.size and not lengths.all():
            lengths = lengths[lengths > 0]
        start = self._num_tokens
        self._append(tokens, num_bytes)
        if lengths.size:
            self._ends.append(np.cumsum(lengths) + start)
            self._num_documents += lengths.size
            self._longest = max(self._longest, int(lengths.max()))

    def add_tokens(self, ids: Ids, num_bytes: int) -> None:
        """Append a piece of one long document, which is open until `end_document`.

        Args:
            ids: Token ids, (n,), integers.
            num_bytes: Bytes of text that the ids stand for.

        Raises:
            ValueError: An id is not in the vocabulary; nothing of the piece is written.
            OSError: The disk is full.
        """
        if self._before_open is None:
            state = self._num_tokens, self._num_bytes, self._max_id
            self._before_open = (*state, self._digest.copy())
        self._append(np.asarray(ids), num_bytes)

    def end_document(self) -> None:
        """End the open document; without one, or when it has no token, nothing happens."""
        if self._before_open is None:
            return
        length = self._num_tokens - self._before_open[0]
        self._before_open = None
        if length:
            self._ends.append(np.array([self._num_tokens]))
            self._num_documents += 1
            self._longest = max(self._longest, length)

    def discard_document(self) -> None:
        """Take the open document back, as if it had never been; without one nothing happens."""
        if self._before_open is None:
            return
        self._num_tokens, self._num_bytes, self._max_id, self._digest = self._before_open
        self._before_open = None
        self._file.seek(self._num_tokens * self._dtype.itemsize)

    def close(self) -> dict[str, Any]:
        """Publish both files under their names and return the shard's entry in `meta.json`.

        Raises:
            ValueError: A document is open.
            OSError: The disk is full.
        """
        if self._before_open is not None:
            raise ValueError(f"{self._bin}: end or discard the open document first")
        size_bytes = self._num_tokens * self._dtype.itemsize
        index = np.concatenate([np.zeros(1, np.int64), *self._ends]).astype(INDEX_DTYPE).tobytes()
        with atomic.naming_a_full_disk(self._bin, size_bytes):
            self._file.truncate(size_bytes)  # what was reserved or taken back
            os.fsync(self._file.fileno())
            self._file.close()
        atomic.write_file(self._idx, index)
        self._temporary.replace(self._bin)
        atomic.fsync_path(self._bin.parent)
        return {
            "file": self._bin.name,
            "index": self._idx.name,
            "num_tokens": self._num_tokens,
            "num_documents": self._num_documents,
            "num_bytes": self._num_bytes,
            "max_id": self._max_id,
            "longest_document_tokens": self._longest,
            "xxh3_128": self._digest.hexdigest(),
            "index_xxh3_128": xxhash.xxh3_128_hexdigest(index),
        }

    def abort(self) -> None:
        """Give the shard up: remove what was written; after `close` nothing happens."""
        self._raw.close()  # not through the buffer, which would write what it still holds
        self._temporary.unlink(missing_ok=True)

    def _append(self, tokens: npt.NDArray[Any], num_bytes: int) -> None:
        if tokens.size:
            max_id = check_ids(tokens, self._vocab_size)
            data = np.ascontiguousarray(tokens, dtype=self._dtype).data
            self._reserve(data.nbytes)
            with atomic.naming_a_full_disk(self._bin, self._reserved_bytes):
                self._file.write(data)
            self._digest.update(data)
            self._num_tokens += tokens.size
            self._max_id = max(self._max_id, max_id)
        self._num_bytes += num_bytes

    def _reserve(self, more_bytes: int) -> None:
        needed = self._num_tokens * self._dtype.itemsize + more_bytes
        if needed <= self._reserved_bytes:
            return
        try:
            size_bytes = max(needed, self._reserved_bytes + RESERVE_BYTES)
            atomic.reserve(self._file, size_bytes)
        except OSError:  # less than a whole step may still fit
            size_bytes = needed
            atomic.reserve(self._file, size_bytes)
        self._reserved_bytes = size_bytes


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
    """
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype_name(vocab_size),
        "vocab_size": vocab_size,
        "tokenizer_fingerprint": tokenizer_fingerprint,
        **summarize(list(shards)),
        "shards": list(shards),
    }
    atomic.write_file(Path(folder) / META_FILE, json.dumps(meta, indent=2) + "\n")
    return meta
