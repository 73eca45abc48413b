"""Token files that other programs wrote, read as a token store.

Known are

- nanoGPT's `train.bin`: raw ids and nothing else, uint16 unless said otherwise
  (<https://github.com/karpathy/nanoGPT>, `data/*/prepare.py`);
- the shards of llm.c and modded-nanogpt: a header of 256 int32 (a magic number, a version, the
  number of tokens, zeros), then the ids: uint16 for magic 20240520 and version 1, uint32 for magic
  20240801 and version 7 (<https://github.com/karpathy/llm.c>, `dev/data/data_common.py`).
"""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from tlm_data.integers import whole_number
from tlm_data.mapping import map_file
from tlm_data.shard_files import Offsets
from tlm_data.store_meta import DTYPES, MAX_VOCAB_SIZE, META_FILE, TokenStoreError
from tlm_data.token_store import TokenStore

HEADER_BYTES = 256 * 4
_HEADERS = {20240520: (1, "uint16"), 20240801: (7, "uint32")}
_EVALUATION_MAGIC = 20240522

_SAMPLE_BYTES = 4096
_SAMPLES = 64
_SCAN_TOKENS = 1 << 22

PathOrPattern = str | os.PathLike[str]


def open_bin(
    paths: PathOrPattern | Sequence[PathOrPattern],
    *,
    dtype: str | None = None,
    vocab_size: int | None = None,
    start_id: int | None = None,
    end_id: int | None = None,
) -> TokenStore:
    """Open `.bin` files of nanoGPT, llm.c or modded-nanogpt as one token store.

    Such files do not say where documents start. Unless `start_id` or `end_id` is given each
    file counts as one document; otherwise a file is read once, when its documents are first
    asked for. No document goes from one file into the next.

    Args:
        paths: A file, a glob pattern (its files in the order of their names), or several.
        dtype: `uint16` (nanoGPT's own) or `uint32`, for files without a header; a file with
            one says it itself.
        vocab_size: All ids are below it, if known.
        start_id: The id that each document starts with: llm.c's and modded-nanogpt's
            FineWeb shards start documents with `<|endoftext|>`, id 50256.
        end_id: The id that each document ends with: nanoGPT's OpenWebText ends them so.

    Raises:
        TokenStoreError: No file matches, a file is empty, cut short, of another format or part
            of a token store, or the files are of different dtypes.
        TypeError: `vocab_size`, `start_id` or `end_id` is not an integer.
        ValueError: `dtype` is neither, both `start_id` and `end_id` are given, or one is not
            an id of the vocabulary and the dtype.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"dtype={dtype!r} must be one of {list(DTYPES)}")
    if start_id is not None and end_id is not None:
        raise ValueError(
            f"start_id={start_id}, end_id={end_id}: give the one that divides the documents"
        )
    if vocab_size is not None:
        vocab_size = whole_number("vocab_size", vocab_size, 1, MAX_VOCAB_SIZE)
    files = [_read_header(file, dtype) for file in _find(paths)]
    # Ids that the vocabulary, or else the dtype of the files, has room for.
    max_id = (vocab_size or 1 << 8 * DTYPES[files[0].dtype].itemsize) - 1
    boundary = None
    if start_id is not None:
        boundary = whole_number("start_id", start_id, 0, max_id), 0
    elif end_id is not None:
        boundary = whole_number("end_id", end_id, 0, max_id), 1
    return BinStore(files, vocab_size, boundary)


class _BinFile(NamedTuple):
    """A run of raw ids in a file."""

    path: Path
    dtype: str
    num_tokens: int
    offset_bytes: int = 0


class BinStore(TokenStore):
    """A token store of files without a description; made by `open_bin`."""

    def __init__(
        self, files: Sequence[_BinFile], vocab_size: int | None, boundary: tuple[int, int] | None
    ) -> None:
        """Map the files; `boundary` is an id, and how far from it the next document starts."""
        dtypes = {found.dtype for found in files}
        if len(dtypes) > 1:
            raise TokenStoreError(
                "the files differ in dtype: "
                + ", ".join(f"{found.path} is {found.dtype}" for found in files[:9])
            )
        self.meta = {}
        self.vocab_size = vocab_size
        self.num_bytes = None
        self.tokenizer_fingerprint = None
        self.paths = [found.path.absolute() for found in files]
        self.path = self.paths[0]
        self._boundary = boundary
        dtype = DTYPES[dtypes.pop()]
        filled = [found for found in files if found.num_tokens]
        self._set_shards(
            [map_file(f.path, dtype, f.num_tokens, f.offset_bytes) for f in filled], dtype
        )

    def __repr__(self) -> str:
        """Return where the files are and what they hold."""
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"TokenStore({str(self.path)!r}{more}: {len(self):,} tokens)"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by path; unpickling opens the files, which must be the same ones still."""
        arguments = (self.paths, self.dtype.name, self.vocab_size, self._boundary)
        return _open_same, (*arguments, self.fingerprint)

    @property
    def num_documents(self) -> int:
        """Number of documents; reads all files where an id divides them."""
        return sum(len(self._document_offsets(number)) - 1 for number in range(len(self.shards)))

    def _document_offsets(self, number: int) -> Offsets:
        if number not in self._offsets:
            tokens = self.shards[number]
            starts = [np.zeros(1, np.int64)]
            if self._boundary is not None:
                divider, distance = self._boundary
                for first in range(0, len(tokens), _SCAN_TOKENS):
                    found = np.flatnonzero(tokens[first : first + _SCAN_TOKENS] == divider)
                    starts.append(found + (first + distance))
            starts.append(np.array([len(tokens)]))
            self._offsets[number] = np.unique(np.concatenate(starts))
        return self._offsets[number]

    @property
    def fingerprint(self) -> str:
        """XXH3, in hex, of sizes and samples: 64 pieces of 4 KiB in each file, spread evenly.

        So files that were swapped, cut or made anew are noticed, a changed id in between not.
        """
        digest = xxhash.xxh3_128(f"{self.dtype.name} {self._boundary}".encode())
        for tokens in self.shards:
            digest.update(len(tokens).to_bytes(8, "little"))
            step = _SAMPLE_BYTES // self.dtype.itemsize
            for start in np.linspace(0, max(0, len(tokens) - step), _SAMPLES).astype(int):
                digest.update(tokens[start : start + step].tobytes())
        return digest.hexdigest()

    def verify(self, on_progress: Any = None) -> None:
        """Say that such files cannot be verified.

        Raises:
            TokenStoreError: Always: the files carry no checksums.
        """
        raise TokenStoreError(
            f"{self.path} carries no checksum that could be verified; its size agrees with its "
            "header and dtype"
        )


def _open_same(
    paths: list[Path],
    dtype: str,
    vocab_size: int | None,
    boundary: tuple[int, int] | None,
    fingerprint: str,
) -> BinStore:
    store = BinStore([_read_header(path, dtype) for path in paths], vocab_size, boundary)
    if store.fingerprint != fingerprint:
        raise TokenStoreError(f"{paths[0]} holds other tokens than when it was sent here")
    return store


def _find(paths: PathOrPattern | Sequence[PathOrPattern]) -> list[Path]:
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    files: list[Path] = []
    for path in map(Path, given):
        # The pattern may be absolute, which Path.glob refuses.
        found = [path] if path.exists() else sorted(map(Path, glob.glob(str(path))))  # noqa: PTH207
        if not found:
            raise TokenStoreError(f"{path}: there is no such file, and none matches it")
        files += found
    if not files:
        raise TokenStoreError("no token file was given")
    return files


def _read_header(path: Path, dtype: str | None) -> _BinFile:
    if path.is_dir():
        raise TokenStoreError(f"{path} is a folder: name the files in it")
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        magic, version, num_tokens = np.frombuffer(file.read(12).ljust(12, b"\0"), "<i4").tolist()
    if magic == _EVALUATION_MAGIC:
        raise TokenStoreError(
            f"{path} holds llm.c's evaluation examples, not a sequence of tokens: open the "
            "training or validation shards"
        )
    if magic not in _HEADERS:
        return _without_header(path, size, dtype or "uint16")
    if size < HEADER_BYTES:
        raise TokenStoreError(
            f"{path} has {size:,} bytes, but its header alone takes {HEADER_BYTES:,}: the file was "
            "cut short; fetch or make it again"
        )
    known_version, own_dtype = _HEADERS[magic]
    if version != known_version:
        raise TokenStoreError(
            f"{path}: version {version} of format {magic} is not {known_version}, the one known"
        )
    if dtype not in (None, own_dtype):
        raise TokenStoreError(f"{path} holds {own_dtype} by its header, not dtype={dtype!r}")
    expected = HEADER_BYTES + num_tokens * DTYPES[own_dtype].itemsize
    if size != expected:
        raise TokenStoreError(
            f"{path} has {size:,} bytes, but its header of {num_tokens:,} tokens of {own_dtype} "
            f"makes {expected:,}: the file is damaged; fetch or make it again"
        )
    return _BinFile(path, own_dtype, num_tokens, HEADER_BYTES)


def _without_header(path: Path, size: int, dtype: str) -> _BinFile:
    if (path.parent / META_FILE).exists():  # which knows the dtype
        raise TokenStoreError(f"{path} is a part of a token store: open {path.parent}")
    if not size:
        raise TokenStoreError(f"{path} is empty: fetch or make it again")
    num_tokens, rest = divmod(size, DTYPES[dtype].itemsize)
    if rest:
        raise TokenStoreError(
            f"{path} has {size:,} bytes, which is not a whole number of {dtype} ids: the file is "
            "damaged, or its dtype is another one"
        )
    return _BinFile(path, dtype, num_tokens)
