"""Reading a text file of any size, a chunk at a time."""

import codecs
import os
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


def read_text(path: str | os.PathLike[str], chunk_bytes: int = CHUNK_BYTES) -> Iterator[str]:
    r"""Read a UTF-8 file in chunks, with line ends as they are ('\r\n' stays).

    Args:
        path: the file.
        chunk_bytes: how much to read at a time, in bytes.

    Yields:
        The text in order. A chunk ends between two characters, and anywhere else.

    Raises:
        ValueError: if the file is not UTF-8; the message has the file and the byte offset.
        FileNotFoundError: if there is no such file.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    with Path(path).open("rb") as file:
        while True:
            data = file.read(chunk_bytes)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{os.fspath(path)}: not UTF-8 at byte {offset - pending + error.start}: "
                    f"{error.reason}"
                ) from error
            offset += len(data)
            if text:
                yield text
            if not data:
                return
