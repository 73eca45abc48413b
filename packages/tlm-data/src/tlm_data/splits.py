"""What is held out of files for validation."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlm_data.records import CHUNK_BYTES
from tlm_data.sources import SourceFile
from tlm_data.streams import open_stored


def split_files(
    files: Sequence[SourceFile], val_fraction: float, root: str | Path | None = None
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Hold out whole files for validation.

    Which ones depends on each file's name alone, so that a file added or removed moves no other.

    Args:
        files: The files to divide.
        val_fraction: Share of the files held out, 0 < val_fraction < 1.
        root: Folder that names are taken relative to.

    Returns:
        `(train, val)`.
    """
    _check_val_fraction(val_fraction)
    train: list[SourceFile] = []
    val: list[SourceFile] = []
    for file in files:
        name = Path(file.url).relative_to(root).as_posix() if root else file.url
        held_out = zlib.crc32(name.encode()) < val_fraction * 2**32
        (val if held_out else train).append(file)
    return train, val


def split_within_files(
    files: Sequence[SourceFile], val_fraction: float, separator: str | None
) -> tuple[list[SourceFile], list[SourceFile]]:
    """Hold out the end of each plain text file for validation.

    A file is cut after the first `separator` that ends in its last `val_fraction`, so that no
    document is divided; without one there, after the first line; without that, at a character.
    Nothing is held out of an empty file.

    Args:
        files: The files to divide; plain text, not compressed.
        val_fraction: Share of each file's bytes held out, 0 < val_fraction < 1.
        separator: The mark between documents; None for none.

    Returns:
        `(train, val)`: a section of each file, which reads as a file of its own.

    Raises:
        ValueError: A file is compressed or no plain text, so that it cannot be cut.
    """
    _check_val_fraction(val_fraction)
    train: list[SourceFile] = []
    val: list[SourceFile] = []
    for file in files:
        if file.format != "text" or file.compression != "none":
            raise ValueError(f"{file.url} cannot be cut in two: only plain text files can")
        target = round(file.size_bytes * (1 - val_fraction))
        cut = _find(file, separator.encode(), target) if separator else None
        cut = cut or _find(file, b"\n", target) or _character_start(file, target)
        train.append(replace(file, size_bytes=cut))
        rest = file.size_bytes - cut
        val.append(replace(file, size_bytes=rest, offset_bytes=file.offset_bytes + cut))
    return train, val


def _check_val_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction} must lie between 0 and 1")


def _find(file: SourceFile, mark: bytes, target: int) -> int | None:
    """Return the offset after the first `mark` that ends at `target` or later, but not last."""
    tail = b""
    offset = max(0, target - len(mark))
    with open_stored(file, offset) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            window = tail + chunk
            at = window.find(mark)
            if at >= 0:
                cut = offset - len(tail) + at + len(mark)
                return cut if cut < file.size_bytes else None
            offset += len(chunk)
            tail = window[len(window) - len(mark) + 1 :]
    return None


def _character_start(file: SourceFile, offset: int) -> int:
    """Return the offset of the first character that begins at `offset` or later."""
    with open_stored(file, offset) as stream:
        following = stream.read(4)
    continuation = 0
    while continuation < len(following) and following[continuation] & 0xC0 == 0x80:
        continuation += 1
    return offset + continuation
