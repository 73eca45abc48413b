"""The token store: a folder of raw token files that any program can memory-map.

A store is a folder with

- `shard-00000.bin`, `shard-00001.bin`, …: the token ids, raw little-endian uint16 or uint32;
- `shard-00000.idx`, …: where each document starts in its shard, and the shard's length, raw
  little-endian uint64;
- `meta.json`: dtype, vocabulary size, counts, largest id, the tokenizer's fingerprint, and the
  counts and 128-bit XXH3 checksums of each shard.
"""

import glob
import hashlib
import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tlm_data.shard_files import Offsets, Tokens, check_rising, map_shard, verify_shard
from tlm_data.store_meta import DTYPES, read_meta
from tlm_data.store_meta import TokenStoreError as TokenStoreError


class TokenStore:
    """A read-only sequence of tokens on disk, memory-mapped.

    Slices are numpy arrays: `store[0:256]`. Make one with `open`. It stays what it was when the
    folder is replaced by another meanwhile. It pickles by its path, so that another process maps
    the same files.

    Attributes:
        path: The folder, absolute.
        meta: The content of `meta.json`; empty for files that have none.
        dtype: Of the ids, uint16 or uint32.
        shards: The ids of each file that has any, each (tokens in the file,), memory-mapped.
        starts: Where each of `shards` starts in the whole, and the number of tokens, as offsets.
        vocab_size: All ids are below it; None where nothing says so.
        num_bytes: Length in bytes of the text; None where nothing says so.
        tokenizer_fingerprint: Which tokenizer made the ids; None where nothing says so.
    """

    vocab_size: int | None
    num_bytes: int | None
    tokenizer_fingerprint: str | None

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        """Map the shards that `meta` lists; `open` reads and checks it first."""
        self.path = path.absolute()
        self.meta = meta
        self.vocab_size = meta["vocab_size"]
        self.num_bytes = meta["num_bytes"]
        self.tokenizer_fingerprint = meta["tokenizer_fingerprint"]
        mapped = [(shard, *map_shard(path, shard, meta["dtype"])) for shard in meta["shards"]]
        filled = [entry for entry in mapped if entry[0]["num_tokens"]]
        self._mapped_offsets = [(offsets, shard["index"]) for shard, _, offsets in filled]
        self._set_shards([tokens for _, tokens, _ in filled], DTYPES[meta["dtype"]])

    def _set_shards(self, shards: list[Tokens], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self.shards = shards
        self.starts = [0, *itertools.accumulate(map(len, shards))]
        self._offsets: dict[int, Offsets] = {}

    @classmethod
    def open(cls, path: str | Path) -> "TokenStore":
        """Open a store and check at once that its files fit its description.

        Args:
            path: The store's folder; or a `.bin` file of nanoGPT, llm.c or modded-nanogpt, or a
                glob pattern of such files, for which `open_bin` has more options.

        Raises:
            TokenStoreError: There is no store, its version or dtype is unknown, or a file is
                missing or has another size than `meta.json` says.
        """
        path = Path(path)
        if path.is_file() or (glob.has_magic(str(path)) and not path.exists()):
            if path.suffix != ".bin":
                raise TokenStoreError(
                    f"{path} is not a token store, which is a folder or a .bin file"
                )
            from tlm_data.bin_files import open_bin

            return open_bin(path)
        return cls(path, read_meta(path))

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self.starts[-1]

    def __getitem__(self, key: slice) -> Tokens:
        """Return the tokens of a slice with step 1, as a view where one shard holds them all."""
        if not isinstance(key, slice):
            raise TypeError(f"store[{key!r}]: take a slice, as in store[{key!r} : {key!r} + 1]")
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError(f"step={step}: a token store is sliced with step 1 only")
        pieces: list[Tokens] = []
        while start < stop:
            number = bisect_right(self.starts, start) - 1
            first, end = self.starts[number : number + 2]
            pieces.append(self.shards[number][start - first : min(stop, end) - first])
            start = min(stop, end)
        if not pieces:
            return np.empty(0, self.dtype)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __repr__(self) -> str:
        """Return where the store is and what it holds."""
        return (
            f"TokenStore({str(self.path)!r}: {len(self):,} tokens in "
            f"{self.num_documents:,} documents)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by path; unpickling opens the store, which must be the same one still."""
        return _open_same, (self.path, self.fingerprint)

    @property
    def num_documents(self) -> int:
        """Number of documents."""
        return int(self.meta["num_documents"])

    def documents(self) -> Iterator[Tokens]:
        """Yield the tokens of each document in order."""
        for number, tokens in enumerate(self.shards):
            for start, end in itertools.pairwise(self._document_offsets(number)):
                yield tokens[int(start) : int(end)]

    def document_spans(self, begin: int, end: int) -> tuple[Offsets, Offsets]:
        """Find the documents that have tokens in a range, in time that grows with their number.

        Args:
            begin: First token of the range.
            end: One past its last token.

        Returns:
            `(starts, ends)`, int64, (documents,) each: where each document starts and ends in
            the whole store; the first and the last may reach out of the range.

        Raises:
            ValueError: The range is not within the store.
        """
        if not 0 <= begin <= end <= len(self):
            raise ValueError(
                f"begin={begin}, end={end} must satisfy 0 <= begin <= end <= {len(self)}"
            )
        starts, ends = [], []
        if begin < end:
            first_shard = bisect_right(self.starts, begin) - 1
            for number in range(first_shard, bisect_left(self.starts, end)):
                base = self.starts[number]
                offsets = self._document_offsets(number)
                first = max(0, int(offsets.searchsorted(begin - base, side="right")) - 1)
                last = int(offsets.searchsorted(end - base, side="left"))
                chosen = offsets[first : last + 1] + base
                starts.append(chosen[:-1])
                ends.append(chosen[1:])
        if not starts:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate(starts), np.concatenate(ends)

    def _document_offsets(self, number: int) -> Offsets:
        """Return where the documents of a shard start, and its length, memory-mapped."""
        if number not in self._offsets:
            offsets, name = self._mapped_offsets[number]
            check_rising(offsets, self.path / name)  # at first use: it reads all of them
            self._offsets[number] = offsets
        return self._offsets[number]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the tokens and documents through their checksums, and no names."""
        fields = ("num_tokens", "num_documents", "xxh3_128", "index_xxh3_128")
        content = {
            **{k: self.meta[k] for k in ("dtype", "vocab_size", "tokenizer_fingerprint")},
            "shards": [[shard[field] for field in fields] for shard in self.meta["shards"]],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def verify(self, on_progress: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Read every file and compare it with what `meta.json` says of it.

        Args:
            on_progress: Called often with the bytes read and the bytes of the whole store.

        Raises:
            TokenStoreError: A file cannot be read or differs; the message names it.
        """
        total = len(self) * self.dtype.itemsize
        total += sum(8 * (shard["num_documents"] + 1) for shard in self.meta["shards"])
        done = 0

        def on_read(num_bytes: int) -> None:
            nonlocal done
            done += num_bytes
            on_progress(done, total)

        for shard in self.meta["shards"]:
            verify_shard(self.path, shard, self.meta["dtype"], on_read)


def _open_same(path: Path, fingerprint: str) -> TokenStore:
    store = TokenStore.open(path)
    if store.fingerprint != fingerprint:
        raise TokenStoreError(f"{path} holds another corpus than when it was sent here")
    return store
