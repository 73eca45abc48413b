"""Reading a file of any size, a chunk at a time."""

import os
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


def read_chunks(path: str | os.PathLike[str], chunk_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Read a file in chunks.

    Args:
        path: the file.
        chunk_bytes: how much to read at a time, in bytes.

    Yields:
        Chunks; joined they are the file. They end anywhere, within a character too.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(chunk_bytes):
            yield chunk


def check_utf8(data: bytes, name: str, first_offset: int = 0) -> None:
    r"""Refuse bytes that are not UTF-8.

    Args:
        data: the bytes.
        name: what to call them in the message.
        first_offset: the offset of the first, where they are a part of more.

    Raises:
        ValueError: if they are not UTF-8; the message has the offset.

    >>> check_utf8(b"caf\xe9", "menu.txt")
    Traceback (most recent call last):
    ValueError: menu.txt: not UTF-8 at byte 3: unexpected end of data; ...
    """
    if data.isascii():
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name}: not UTF-8 at byte {first_offset + error.start}: {error.reason}; read it as "
            "what it is and write it as UTF-8"
        ) from None
