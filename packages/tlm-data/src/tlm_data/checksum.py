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
    return _digest_file(path, hashlib.sha256(), lambda data: None)


def xxh3_file(path: Path, on_read: Callable[[bytes], None] = lambda data: None) -> str:
    """Return the 128-bit XXH3 of a file, in hex, without holding the file in memory.

    XXH3 is as fast as memory and finds every accident; it is no guard against a forger.

    Args:
        path: The file.
        on_read: Called with each piece that was read, 1 MiB but for the last.
    """
    return _digest_file(path, xxhash.xxh3_128(), on_read)


def _digest_file(path: Path, digest: _Digest, on_read: Callable[[bytes], None]) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            on_read(chunk)
    return digest.hexdigest()
