"""Telling whether text is one document, of which only the tail can be held out."""

from collections.abc import Sequence

from tlm_data.records import CHUNK_BYTES
from tlm_data.sources import SourceFile
from tlm_data.streams import open_stored


def is_one_document(files: Sequence[SourceFile], separator: str | None) -> bool:
    """Tell whether files are but one plain text file with no separator in it.

    Args:
        files: The files; a lone one is read up to its first separator.
        separator: The mark between documents; None for none.
    """
    if len(files) != 1 or files[0].format != "text" or files[0].compression != "none":
        return False
    if separator is None:
        return True
    mark = separator.encode()
    tail = b""
    with open_stored(files[0]) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            window = tail + chunk
            if mark in window:
                return False
            tail = window[max(0, len(window) - len(mark) + 1) :]
    return True
