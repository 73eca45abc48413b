"""The token store: a folder of raw token files that any program can memory-map.

A store is a folder with

- `shard-00000.bin`, `shard-00001.bin`, …: the token ids, raw little-endian uint16 or uint32;
- `shard-00000.idx`, …: where each document starts in its shard, and the shard's length, raw
  little-endian uint64;
- `meta.json`: dtype, counts, largest id, the tokenizer's fingerprint, and the size and SHA-256
  of each shard.
"""

import hashlib
import itertools
import json
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlm_data.checksum import sha256_file

FORMAT = "tlm-token-store"
VERSION = 1
META_FILE = "meta.json"
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}

_META_FIELDS = {
    "num_tokens": int,
    "num_documents": int,
    "num_bytes": int,
    "max_id": int,
    "tokenizer_fingerprint": str,
    "shards": list,
}
_SHARD_FIELDS = {
    "file": str,
    "index": str,
    "num_tokens": int,
    "num_documents": int,
    "sha256": str,
    "index_sha256": str,
}

Tokens = npt.NDArray[np.unsignedinteger[Any]]


class TokenStoreError(ValueError):
    """A token store is damaged, of another version, or not a token store."""


class TokenStore:
    """A read-only sequence of tokens on disk, memory-mapped.

    Slices are numpy arrays: `store[0:256]`. Make one with `open`.

    Attributes:
        path: The folder.
        meta: The content of `meta.json`.
    """

    def __init__(self, path: Path, meta: dict[str, Any]) -> None:
        """Map the shards that `meta` lists; `open` reads and checks it first."""
        self.path = path
        self.meta = meta
        dtype = DTYPES[meta["dtype"]]
        shards = [shard for shard in meta["shards"] if shard["num_tokens"]]
        self._shards = [np.memmap(path / s["file"], dtype=dtype, mode="r") for s in shards]
        self._starts = [0]
        for shard in shards:
            self._starts.append(self._starts[-1] + shard["num_tokens"])

    @classmethod
    def open(cls, path: str | Path) -> "TokenStore":
        """Open a store and check at once that its files fit its description.

        Args:
            path: The store's folder.

        Raises:
            TokenStoreError: There is no store, its version or dtype is unknown, or a file is
                missing or has another size than `meta.json` says.
        """
        path = Path(path)
        meta = _read_meta(path)
        item_bytes = DTYPES[meta["dtype"]].itemsize
        for shard in meta["shards"]:
            _check_size(path / shard["file"], shard["num_tokens"] * item_bytes)
            _check_size(path / shard["index"], (shard["num_documents"] + 1) * 8)
        for name in ("num_tokens", "num_documents"):
            total = sum(shard[name] for shard in meta["shards"])
            if total != meta[name]:
                raise TokenStoreError(
                    f"{path / META_FILE}: {name}={meta[name]}, but the shards hold {total}"
                )
        return cls(path, meta)

    def __len__(self) -> int:
        """Return the number of tokens."""
        return self._starts[-1]

    def __getitem__(self, key: slice) -> Tokens:
        """Return the tokens of a slice with step 1, as a view where one shard holds them all."""
        if not isinstance(key, slice):
            raise TypeError(f"store[{key!r}]: take a slice, as in store[{key!r} : {key!r} + 1]")
        start, stop, step = key.indices(len(self))
        if step != 1:
            raise ValueError(f"step={step}: a token store is sliced with step 1 only")
        pieces: list[Tokens] = []
        while start < stop:
            number = bisect_right(self._starts, start) - 1
            first, end = self._starts[number : number + 2]
            pieces.append(self._shards[number][start - first : min(stop, end) - first])
            start = min(stop, end)
        if not pieces:
            return np.empty(0, DTYPES[self.meta["dtype"]])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def __repr__(self) -> str:
        """Return where the store is and what it holds."""
        return (
            f"TokenStore({str(self.path)!r}: {self.meta['num_tokens']:,} tokens in "
            f"{self.meta['num_documents']:,} documents)"
        )

    def documents(self) -> Iterator[Tokens]:
        """Yield the tokens of each document in order."""
        shards = iter(self._shards)
        for shard in self.meta["shards"]:
            if not shard["num_tokens"]:
                continue
            tokens = next(shards)
            offsets = np.fromfile(self.path / shard["index"], dtype="<u8")
            for start, end in itertools.pairwise(offsets):
                yield tokens[int(start) : int(end)]

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of the description, and so of every token through its checksums."""
        return hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode()).hexdigest()

    def verify(self) -> None:
        """Read every file and compare it with its checksum.

        Raises:
            TokenStoreError: A file differs; the message names it.
        """
        for shard in self.meta["shards"]:
            for name, expected in (
                (shard["file"], shard["sha256"]),
                (shard["index"], shard["index_sha256"]),
            ):
                found = sha256_file(self.path / name)
                if found != expected:
                    raise TokenStoreError(
                        f"{self.path / name}: SHA-256 is {found}, meta.json says {expected}: "
                        f"the file is damaged; remove {self.path} and prepare the corpus again"
                    )


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / META_FILE
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TokenStoreError(f"{path} is not a token store: {META_FILE} is missing") from None
    except ValueError as error:
        raise TokenStoreError(f"{file} is damaged: {error}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise TokenStoreError(f"{file} does not describe a token store")
    if meta.get("version") != VERSION:
        raise TokenStoreError(
            f"{file}: version {meta.get('version')} is not {VERSION}: read it with the tlm-data "
            "that wrote it, or prepare the corpus again"
        )
    if meta.get("dtype") not in DTYPES:
        raise TokenStoreError(f"{file}: dtype {meta.get('dtype')!r} is not one of {list(DTYPES)}")
    _check_fields(file, meta, _META_FIELDS)
    for shard in meta["shards"]:
        _check_fields(file, shard, _SHARD_FIELDS)
    return meta


def _check_fields(file: Path, found: Any, fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        if not isinstance(found, dict) or not isinstance(found.get(name), kind):
            raise TokenStoreError(f"{file} is damaged: it lacks {name}, of type {kind.__name__}")


def _check_size(path: Path, expected: int) -> None:
    if not path.is_file():
        raise TokenStoreError(f"{path} is missing")
    size = path.stat().st_size
    if size != expected:
        raise TokenStoreError(
            f"{path} has {size} bytes, meta.json says {expected}: the file is damaged; remove "
            f"{path.parent} and prepare the corpus again"
        )
