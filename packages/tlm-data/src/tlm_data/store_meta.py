"""The description of a token store, `meta.json`: what it must say, and reading it with care."""

import json
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
        raise TokenStoreError(_why_no_store(path)) from None
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
