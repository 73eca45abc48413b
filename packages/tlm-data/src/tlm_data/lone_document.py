"""A text file that is one document: there are no others to hold out, so its tail is."""

from collections.abc import Sequence
from dataclasses import replace

from tlm_data.sources import SourceFile

_CHUNK_BYTES = 1 << 20


def is_one_document(files: Sequence[SourceFile], separator: str | None) -> bool:
    """Tell whether files are but one plain text file with no separator in it.

    Args:
        files: The files; one that has no separator is read to its end.
        separator: The mark between documents, if there is one.
    """
    if len(files) != 1 or files[0].format != "text" or files[0].compression != "none":
        return False
    if separator is None:
        return True
    mark = separator.encode()
    tail = b""
    with files[0].open() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if mark in tail + chunk:
                return False
            tail = (tail + chunk)[-len(mark) + 1 or len(chunk) + len(tail) :]
    return True


def split_tail(file: SourceFile, fraction: float) -> tuple[list[SourceFile], list[SourceFile]]:
    """Divide a text file into a section to learn from and its tail for validation.

    Args:
        file: Plain text, not compressed.
        fraction: Share of its bytes in the tail, 0 < fraction < 1. The cut is moved to the next
            line's start, or the next character's where there is none.

    Returns:
        The section to learn from and the tail, each alone in a list.
    """
    cut = round(file.size_bytes * (1 - fraction))
    with file.open() as stream:
        stream.seek(cut)
        following = stream.read(_CHUNK_BYTES)
    line = following.find(b"\n") + 1
    if 0 < line < len(following):
        cut += line
    else:
        while following and following[0] & 0xC0 == 0x80:
            cut, following = cut + 1, following[1:]
    head = replace(file, size_bytes=cut)
    tail = replace(file, size_bytes=file.size_bytes - cut, offset_bytes=file.offset_bytes + cut)
    return [head], [tail]
