"""Checksums of files."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import xxhash

_CHUNK_BYTES = 1 << 20


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex, without holding the file in memory."""
    return _digest_file(path, hashlib.sha256(), lambda num_bytes: None)


def xxh3_file(path: Path, on_read: Callable[[int], None] = lambda num_bytes: None) -> str:
    """Return the 128-bit XXH3 of a file, in hex, without holding the file in memory.

    XXH3 is as fast as memory and finds every accident; it is no guard against a forger.

    Args:
        path: The file.
        on_read: Called with the number of bytes of each piece that was read.
    """
    return _digest_file(path, xxhash.xxh3_128(), on_read)


def _digest_file(path: Path, digest: _Digest, on_read: Callable[[int], None]) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_read(len(chunk))
    return digest.hexdigest()
