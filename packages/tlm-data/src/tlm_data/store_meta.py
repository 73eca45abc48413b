"""The description of a token store, `meta.json`, and whether the files beside it fit it."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "tlm-token-store"
VERSION = 1
META_FILE = "meta.json"
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
INDEX_DTYPE = np.dtype("<u8")

TOTALS = ("num_tokens", "num_documents", "num_bytes")
"""Counts of the store that are the sums of its shards' counts."""

LARGEST = ("max_id", "longest_document_tokens")
"""Figures of the store that are the largest of its shards' figures."""

_COUNTS: dict[str, type] = dict.fromkeys((*TOTALS, *LARGEST), int)
_META_FIELDS = {"vocab_size": int, "tokenizer_fingerprint": str, "shards": list, **_COUNTS}
_SHARD_FIELDS = {
    "file": str,
    "index": str,
    **_COUNTS,
    "xxh3_128": str,
    "index_xxh3_128": str,
}


WAY_OUT = "copy the store again, or remove it and prepare the corpus again"


class TokenStoreError(ValueError):
    """A token store is damaged, of another version, or not a token store."""


def dtype_name(vocab_size: int) -> str:
    """Return the name of the smallest dtype that holds every id below `vocab_size`.

    Raises:
        ValueError: It is not between 1 and 2**32.
    """
    if not 0 < vocab_size <= 1 << 32:
        raise ValueError(f"vocab_size={vocab_size} must lie between 1 and 2**32")
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def summarize(shards: list[dict[str, Any]]) -> dict[str, int]:
    """Return the store's own counts, from those of its shards."""
    return {
        **{name: sum(shard[name] for shard in shards) for name in TOTALS},
        "max_id": max((shard["max_id"] for shard in shards), default=-1),
        "longest_document_tokens": max(
            (shard["longest_document_tokens"] for shard in shards), default=0
        ),
    }


def read_meta(path: Path) -> dict[str, Any]:
    """Read the description in folder `path`, and check all that can be told without the shards.

    Raises:
        TokenStoreError: It is missing, damaged, of another version or of an unknown dtype.
    """
    file = path / META_FILE
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        problem = _why_no_store(path)
        if file.exists():  # the store was published between the two looks
            return read_meta(path)
        raise TokenStoreError(problem) from None
    except ValueError as error:  # neither UTF-8 nor JSON
        raise TokenStoreError(f"{file} is damaged: {error}") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise TokenStoreError(f"{file} does not describe a token store (format {FORMAT!r})")
    if meta.get("version") != VERSION:
        raise TokenStoreError(
            f"{file}: version {meta.get('version')} is not {VERSION}: read it with the tlm-data "
            "that wrote it, or prepare the corpus again"
        )
    if meta.get("dtype") not in DTYPES:
        raise TokenStoreError(f"{file}: dtype {meta.get('dtype')!r} is not one of {list(DTYPES)}")
    _check_fields(file, "it", meta, _META_FIELDS)
    for number, shard in enumerate(meta["shards"]):
        _check_fields(file, f"shard {number}", shard, _SHARD_FIELDS)
        for name in (shard["file"], shard["index"]):
            if "/" in name or "\\" in name or name in ("", ".", ".."):
                raise TokenStoreError(f"{file}: {name!r} must be a file in the same folder")
    _check_sums(file, meta)
    return meta


def _why_no_store(path: Path) -> str:
    if not path.is_dir():
        return f"{path} is not a token store: there is no such file or folder"
    inner = sorted(file.parent.name for file in path.glob(f"*/{META_FILE}"))
    if inner:
        return (
            f"{path} is not a token store but a folder with {len(inner)} of them: open "
            + " or ".join(str(path / name) for name in inner)
        )
    if any(path.glob("*.bin")):
        return (
            f"{path} is not a token store: {META_FILE} is missing; to read plain .bin files of "
            f"tokens, name the files: {path}/*.bin"
        )
    return f"{path} is not a token store: {META_FILE} is missing"


def _check_fields(file: Path, what: str, found: Any, fields: dict[str, type]) -> None:
    for name, kind in fields.items():
        if not isinstance(found, dict) or type(found.get(name)) is not kind:
            raise TokenStoreError(
                f"{file} is damaged: {what} lacks {name}, of type {kind.__name__}"
            )
        if kind is int and found[name] < (-1 if name == "max_id" else 0):
            raise TokenStoreError(f"{file} is damaged: {name}={found[name]} must not be negative")


def _check_sums(file: Path, meta: dict[str, Any]) -> None:
    for name, found in summarize(meta["shards"]).items():
        if found != meta[name]:
            raise TokenStoreError(f"{file}: {name}={meta[name]}, but the shards hold {found}")
    if meta["max_id"] >= meta["vocab_size"]:
        raise TokenStoreError(
            f"{file}: max_id={meta['max_id']} must be below vocab_size={meta['vocab_size']}"
        )


def check_shard(folder: Path, shard: dict[str, Any], dtype: str) -> None:
    """Check that the files of a shard have the sizes that its entry in `meta.json` says.

    Args:
        folder: The store.
        shard: The entry.
        dtype: The store's, by name.

    Raises:
        TokenStoreError: A file is missing or of another size, or the index is another shard's.
    """
    # Plain strings: a store may have thousands of shards, and a Path costs as much as reading
    # from the file that it names.
    _check_tokens(f"{folder}{os.sep}{shard['file']}", shard["num_tokens"], dtype)
    _check_index(f"{folder}{os.sep}{shard['index']}", shard["num_tokens"], shard["num_documents"])


def _check_tokens(path: str, num_tokens: int, dtype: str) -> None:
    expected = num_tokens * DTYPES[dtype].itemsize
    found = _size_of(path)
    if found == expected:
        return
    problem = f"{path} has {found:,} bytes, but {num_tokens:,} ids of {dtype} take {expected:,}: "
    others = [name for name, other in DTYPES.items() if found == num_tokens * other.itemsize]
    if others:
        raise TokenStoreError(f"{problem}{META_FILE} has the wrong dtype, it could be {others[0]}")
    if found % DTYPES[dtype].itemsize:
        problem += "that is not a whole number of ids, "
    kind = "the file was cut short" if found < expected else "the file is too long"
    raise TokenStoreError(f"{problem}{kind}; {WAY_OUT}")


def _check_index(path: str, num_tokens: int, num_documents: int) -> None:
    expected = (num_documents + 1) * INDEX_DTYPE.itemsize
    found, first, last = _size_and_ends(path)
    if found != expected:
        raise TokenStoreError(
            f"{path} has {found:,} bytes, but offsets of {num_documents:,} documents take "
            f"{expected:,}; {WAY_OUT}"
        )
    if first != 0 or last != num_tokens:
        raise TokenStoreError(
            f"{path} is damaged: its documents cover tokens {first:,} to {last:,}, but the shard "
            f"has 0 to {num_tokens:,}; {WAY_OUT}"
        )


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except FileNotFoundError:
        raise TokenStoreError(f"{path} is missing; {WAY_OUT}") from None


def _size_and_ends(path: str) -> tuple[int, int, int]:
    """Return the size of an index in bytes, and its first and last offset."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            first = file.read(8)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            return size, int.from_bytes(first, "little"), int.from_bytes(file.read(8), "little")
    except FileNotFoundError:
        raise TokenStoreError(f"{path} is missing; {WAY_OUT}") from None
