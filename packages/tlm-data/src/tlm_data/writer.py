"""Writing a token store, one document at a time."""

from pathlib import Path
from typing import Any

import numpy as np

from tlm_data import atomic
from tlm_data.integers import whole_number
from tlm_data.shard_writer import Ids, ShardWriter, check_fingerprint, write_meta
from tlm_data.store_meta import MAX_VOCAB_SIZE

SHARD_TOKENS = 1 << 28


class TokenStoreWriter:
    """Streams documents into a new token store; the folder appears when it is complete.

    Use it as a context manager: when the block ends well the store is published under its name,
    when it raises nothing is left behind. Memory does not grow with the store.

    Args:
        path: The store's folder; must not exist.
        vocab_size: Ids must be below this. It also chooses the dtype: uint16 up to 65,536.
        tokenizer_fingerprint: Says which tokenizer made the ids.
        shard_tokens: A new shard starts at the first document after this many tokens.

    Raises:
        TypeError: A size is not an integer, or the fingerprint not a string.
        ValueError: A size is out of bounds.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        vocab_size: int,
        tokenizer_fingerprint: str,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        check_fingerprint(tokenizer_fingerprint)
        self.path = Path(path)
        self._vocab_size = whole_number("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
        self._tokenizer_fingerprint = tokenizer_fingerprint
        self._shard_tokens = whole_number("shard_tokens", shard_tokens, 1)
        self._shards: list[dict[str, Any]] = []
        self._pending = atomic.new_folder(self.path)
        self._shard: ShardWriter | None = None

    def __enter__(self) -> "TokenStoreWriter":
        """Make the temporary folder that the store is written in."""
        self._folder = self._pending.__enter__()
        try:
            self._shard = self._open_shard()
        except BaseException as error:
            self._pending.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(self, *exception: Any) -> None:
        """Publish the store, or remove what was written if the block raised."""
        shard = self._open()
        self._shard = None
        try:
            if exception[0] is None:
                self._shards.append(shard.close())
                write_meta(
                    self._folder,
                    vocab_size=self._vocab_size,
                    tokenizer_fingerprint=self._tokenizer_fingerprint,
                    shards=self._shards,
                )
        except BaseException as error:
            exception = type(error), error, error.__traceback__
            raise
        finally:
            shard.abort()
            self._pending.__exit__(*exception)

    def add(self, ids: Ids, num_bytes: int) -> None:
        """Append one document.

        Args:
            ids: Its token ids, its end token included; an empty document is left out.
            num_bytes: The length in bytes of the text that the ids stand for.

        Raises:
            TypeError: `num_bytes` is not an integer; nothing is written.
            ValueError: An id is negative or not below the vocabulary size; nothing of the
                document is written.
            OSError: The disk is full.
        """
        tokens = np.asarray(ids)
        self.add_documents(tokens, [tokens.size], num_bytes)

    def add_documents(self, ids: Ids, lengths: Ids, num_bytes: int) -> None:
        """Append many documents at once, which is faster; all go into one shard.

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
        shard = self._open()
        if shard.num_tokens >= self._shard_tokens:
            self._shards.append(shard.close())
            shard = self._shard = self._open_shard()
        shard.add_documents(ids, lengths, num_bytes)

    def _open(self) -> ShardWriter:
        if self._shard is None:
            raise ValueError(
                f"{self.path} is not being written: add documents inside of "
                "`with TokenStoreWriter(...) as writer:`"
            )
        return self._shard

    def _open_shard(self) -> ShardWriter:
        name = f"shard-{len(self._shards):05d}"
        return ShardWriter(self._folder, name, vocab_size=self._vocab_size)
