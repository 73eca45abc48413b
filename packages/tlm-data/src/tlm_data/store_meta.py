"""The description of a token store, `meta.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "tlm-token-store"
VERSION = 1
META_FILE = "meta.json"
DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
INDEX_DTYPE = np.dtype("<u8")
MAX_VOCAB_SIZE = 1 << 32

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
    if not 0 < vocab_size <= MAX_VOCAB_SIZE:
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
        meta: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        problem = _why_no_store(path)
        if file.exists():  # the store was published between the two looks
            return read_meta(path)
        raise TokenStoreError(problem) from None
    except OSError as error:
        raise TokenStoreError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # neither UTF-8 nor JSON
        raise TokenStoreError(f"{file} is damaged: {error}") from None
    check_meta(file, meta)
    return meta


def check_meta(file: Path, meta: Any) -> None:
    """Check the content of a `meta.json`: format, version, fields, and that they agree.

    Args:
        file: Where it is, or is to be; for the messages.
        meta: The content.

    Raises:
        TokenStoreError: Something is wrong; the message says what.
    """
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise TokenStoreError(f"{file} does not describe a token store (format {FORMAT!r})")
    if type(meta.get("version")) is not int or meta["version"] != VERSION:
        raise TokenStoreError(
            f"{file}: version {meta.get('version')!r} is not {VERSION}: read it with the tlm-data "
            "that wrote it, or prepare the corpus again"
        )
    if not isinstance(meta.get("dtype"), str) or meta["dtype"] not in DTYPES:
        raise TokenStoreError(f"{file}: dtype {meta.get('dtype')!r} is not one of {list(DTYPES)}")
    _check_fields(file, "it", meta, _META_FIELDS)
    check_shards(file, meta["shards"])
    for name, found in summarize(meta["shards"]).items():
        if found != meta[name]:
            raise TokenStoreError(f"{file}: {name}={meta[name]}, but the shards hold {found}")
    if not 1 <= meta["vocab_size"] <= MAX_VOCAB_SIZE:
        raise TokenStoreError(
            f"{file}: vocab_size={meta['vocab_size']} must lie between 1 and 2**32"
        )
    if meta["max_id"] >= meta["vocab_size"]:
        raise TokenStoreError(
            f"{file}: max_id={meta['max_id']} must be below vocab_size={meta['vocab_size']}"
        )


def check_shards(file: Path, shards: list[Any]) -> None:
    """Check the entries of the shards in a `meta.json`.

    Raises:
        TokenStoreError: An entry lacks a field, or names a file outside the store.
    """
    for number, shard in enumerate(shards):
        _check_fields(file, f"shard {number}", shard, _SHARD_FIELDS)
        for name in (shard["file"], shard["index"]):
            if "/" in name or "\\" in name or name in ("", ".", ".."):
                raise TokenStoreError(f"{file}: {name!r} must be a file in the same folder")


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
            raise TokenStoreError(f"{file}: {what} lacks {name}, of type {kind.__name__}")
        if kind is int and found[name] < (-1 if name == "max_id" else 0):
            raise TokenStoreError(f"{file}: {name}={found[name]} must not be negative")
