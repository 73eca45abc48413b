"""Writing a token store, one document at a time."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tlm_data import atomic
from tlm_data.token_store import DTYPES, FORMAT, META_FILE, VERSION

SHARD_TOKENS = 1 << 28


class TokenStoreWriter:
    """Streams documents into a new token store; the folder appears when it is complete.

    Use it as a context manager: when the block ends well the store is published under its name,
    when it raises nothing is left behind. Memory does not grow with the store, but for eight
    bytes a document of the shard being written.

    Args:
        path: The store's folder; must not exist.
        vocab_size: Ids must be below this. It also chooses the dtype: uint16 up to 65,536.
        tokenizer_fingerprint: Says which tokenizer made the ids.
        shard_tokens: A new shard starts at the first document after this many tokens.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        vocab_size: int,
        tokenizer_fingerprint: str,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        if not 0 < vocab_size <= 1 << 32:
            raise ValueError(f"vocab_size={vocab_size} must lie between 1 and 2**32")
        self.path = Path(path)
        self._vocab_size = vocab_size
        self._dtype_name = "uint16" if vocab_size <= 1 << 16 else "uint32"
        self._shard_tokens = shard_tokens
        self._shards: list[dict[str, Any]] = []
        self._totals = {"num_tokens": 0, "num_documents": 0, "num_bytes": 0, "max_id": -1}
        self._tokenizer_fingerprint = tokenizer_fingerprint
        self._pending = atomic.new_folder(self.path)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "TokenStoreWriter":
        """Make the temporary folder that the store is written in."""
        self._folder = self._pending.__enter__()
        self._open_shard()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Publish the store, or remove what was written if the block raised."""
        try:
            self._close_shard()
            if exception[0] is None:
                self._write_meta()
        except BaseException as error:
            self._pending.__exit__(type(error), error, error.__traceback__)
            raise
        self._pending.__exit__(*exception)

    def add(self, ids: Sequence[int] | npt.NDArray[Any], num_bytes: int) -> None:
        """Append one document.

        Args:
            ids: Its token ids, its end token included; an empty document is left out.
            num_bytes: The length in bytes of the text that the ids stand for.

        Raises:
            ValueError: An id is negative or not below the vocabulary size; nothing of the
                document is written.
        """
        tokens = np.asarray(ids)
        if not tokens.size:
            return
        smallest, largest = int(tokens.min()), int(tokens.max())
        if smallest < 0 or largest >= self._vocab_size:
            wrong = smallest if smallest < 0 else largest
            raise ValueError(
                f"token id {wrong} is outside the vocabulary 0..{self._vocab_size - 1}"
            )
        if self._offsets[-1] >= self._shard_tokens:
            self._close_shard()
            self._open_shard()
        assert self._file is not None
        data = tokens.astype(DTYPES[self._dtype_name]).tobytes()
        self._file.write(data)
        self._digest.update(data)
        self._offsets.append(self._offsets[-1] + tokens.size)
        self._totals["num_tokens"] += tokens.size
        self._totals["num_documents"] += 1
        self._totals["num_bytes"] += num_bytes
        self._totals["max_id"] = max(self._totals["max_id"], largest)

    def _open_shard(self) -> None:
        self._file = (self._folder / f"shard-{len(self._shards):05d}.bin").open("wb")
        self._digest = hashlib.sha256()
        self._offsets = [0]

    def _close_shard(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self._file = None
        name = f"shard-{len(self._shards):05d}"
        index = np.array(self._offsets, dtype="<u8").tobytes()
        (self._folder / f"{name}.idx").write_bytes(index)
        self._shards.append(
            {
                "file": f"{name}.bin",
                "index": f"{name}.idx",
                "num_tokens": self._offsets[-1],
                "num_documents": len(self._offsets) - 1,
                "sha256": self._digest.hexdigest(),
                "index_sha256": hashlib.sha256(index).hexdigest(),
            }
        )

    def _write_meta(self) -> None:
        meta = {
            "format": FORMAT,
            "version": VERSION,
            "dtype": self._dtype_name,
            "vocab_size": self._vocab_size,
            "tokenizer_fingerprint": self._tokenizer_fingerprint,
            **self._totals,
            "shards": self._shards,
        }
        (self._folder / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
