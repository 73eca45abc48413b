"""The two files of a shard: mapped into memory, and whether they fit their entry in `meta.json`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlm_data.checksum import xxh3_file
from tlm_data.mapping import map_bytes
from tlm_data.store_meta import DTYPES, INDEX_DTYPE, META_FILE, WAY_OUT, TokenStoreError

Tokens = npt.NDArray[np.unsignedinteger[Any]]
Offsets = npt.NDArray[np.int64]

# Offsets are far below 2**63, so that they are the same numbers as int64.
_OFFSETS_DTYPE = np.dtype("<i8")


def map_shard(folder: Path, shard: dict[str, Any], dtype: str) -> tuple[Tokens, Offsets]:
    """Map the files of a shard, and check that they have the sizes that its entry says.

    What was mapped stays as it is when the files are replaced by others of the same names.

    Args:
        folder: The store.
        shard: The entry.
        dtype: The store's, by name.

    Returns:
        `(tokens, offsets)`: the ids, (num_tokens,), and where each document starts, and the
        number of tokens, (num_documents + 1,).

    Raises:
        TokenStoreError: A file is missing or of another size, or the index is another shard's.
    """
    # Plain strings: a store may have thousands of shards, and a Path costs as much as reading
    # from the file that it names.
    tokens = _map_tokens(f"{folder}{os.sep}{shard['file']}", shard["num_tokens"], dtype)
    index = f"{folder}{os.sep}{shard['index']}"
    return tokens, _map_offsets(index, shard["num_tokens"], shard["num_documents"])


def _map_tokens(path: str, num_tokens: int, dtype: str) -> Tokens:
    data = _map(path)
    expected = num_tokens * DTYPES[dtype].itemsize
    found = len(data)
    if found == expected:
        return np.frombuffer(data, DTYPES[dtype])
    problem = f"{path} has {found:,} bytes, but {num_tokens:,} ids of {dtype} take {expected:,}: "
    others = [name for name, other in DTYPES.items() if found == num_tokens * other.itemsize]
    if others:
        raise TokenStoreError(f"{problem}{META_FILE} has the wrong dtype, it could be {others[0]}")
    if found % DTYPES[dtype].itemsize:
        problem += "that is not a whole number of ids, "
    kind = "the file was cut short" if found < expected else "the file is too long"
    raise TokenStoreError(f"{problem}{kind}; {WAY_OUT}")


def _map_offsets(path: str, num_tokens: int, num_documents: int) -> Offsets:
    data = _map(path)
    expected = (num_documents + 1) * INDEX_DTYPE.itemsize
    if len(data) != expected:
        raise TokenStoreError(
            f"{path} has {len(data):,} bytes, but offsets of {num_documents:,} documents take "
            f"{expected:,}; {WAY_OUT}"
        )
    offsets = np.frombuffer(data, _OFFSETS_DTYPE)
    if offsets[0] != 0 or offsets[-1] != num_tokens:
        raise TokenStoreError(
            f"{path} is damaged: its documents cover tokens {offsets[0]:,} to {offsets[-1]:,}, "
            f"but the shard has 0 to {num_tokens:,}; {WAY_OUT}"
        )
    return offsets


def _map(path: str) -> Any:
    try:
        return map_bytes(path)
    except FileNotFoundError:
        raise TokenStoreError(f"{path} is missing; {WAY_OUT}") from None
    except (OSError, ValueError) as error:  # a folder, no access, a name that no file can have
        raise TokenStoreError(f"{path!r} cannot be read: {error}") from error


def check_rising(offsets: Offsets, path: Path) -> None:
    """Check that each document of a shard starts after the one before.

    Args:
        offsets: Of the documents, (documents + 1,).
        path: Where they are from, for the message.

    Raises:
        TokenStoreError: One does not.
    """
    if not (offsets[1:] > offsets[:-1]).all():
        number = int((offsets[1:] <= offsets[:-1]).argmax())
        raise TokenStoreError(
            f"{path} is damaged: document {number} covers tokens {offsets[number]:,} to "
            f"{offsets[number + 1]:,}; {WAY_OUT}"
        )


def verify_shard(
    folder: Path, shard: dict[str, Any], dtype: str, on_read: Callable[[int], None]
) -> None:
    """Read the files of a shard and compare them with its entry in `meta.json`.

    Args:
        folder: The store.
        shard: The entry.
        dtype: The store's, by name.
        on_read: Called with the number of bytes of each piece that was read.

    Raises:
        TokenStoreError: A file cannot be read, or differs from its entry.
    """
    path = folder / shard["file"]
    max_id = -1

    def on_tokens(data: bytes) -> None:
        nonlocal max_id
        ids = np.frombuffer(data, DTYPES[dtype], len(data) // DTYPES[dtype].itemsize)
        max_id = max(max_id, int(ids.max(initial=0)))
        on_read(len(data))

    _compare_checksum(path, shard["xxh3_128"], on_tokens)
    _compare(path, "max_id", shard, max_id)

    path = folder / shard["index"]
    longest = last = 0

    def on_offsets(data: bytes) -> None:
        nonlocal longest, last
        offsets = np.frombuffer(data, _OFFSETS_DTYPE, len(data) // _OFFSETS_DTYPE.itemsize)
        lengths = np.diff(offsets, prepend=last)
        longest, last = max(longest, int(lengths.max(initial=0))), int(offsets[-1])
        on_read(len(data))

    _compare_checksum(path, shard["index_xxh3_128"], on_offsets)
    _compare(path, "longest_document_tokens", shard, longest)


def _compare_checksum(path: Path, expected: str, on_read: Callable[[bytes], None]) -> None:
    try:
        found = xxh3_file(path, on_read)
    except OSError as error:
        raise TokenStoreError(f"{path} cannot be read: {error.strerror}; {WAY_OUT}") from error
    if found != expected:
        raise TokenStoreError(
            f"{path} is damaged: its XXH3 checksum is {found}, {META_FILE} says {expected}; "
            f"{WAY_OUT}"
        )


def _compare(path: Path, name: str, shard: dict[str, Any], found: int) -> None:
    if found != shard[name]:
        raise TokenStoreError(
            f"{META_FILE} is damaged: it says {name}={shard[name]:,} of {path}, which has "
            f"{found:,}; {WAY_OUT}"
        )
