"""The bytes of a file as a stream: found where they are stored, unpacked, limited to a section."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from tlm_data.sources import SourceFile


class ByteStream(Protocol):
    """What documents are read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; none at the end alone."""
        ...


class _Section:
    """The stored bytes of a file, or of a section of one.

    Args:
        file: What is read.
        stored: The open file.
        start: First byte to read, counted from the start of the section.
    """

    def __init__(self, file: SourceFile, stored: BinaryIO, start: int) -> None:
        self._file = file
        self._stored = stored
        self._left = max(0, file.size_bytes - start)
        if file.offset_bytes + start:
            stored.seek(file.offset_bytes + start)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes.

        Raises:
            ValueError: The file ends before it should.
        """
        size = min(size, self._left)
        if not size:
            return b""
        data = self._stored.read(size)
        if not data:
            length = self._file.offset_bytes + self._file.size_bytes
            raise ValueError(
                f"{self._file.url} is shorter than {length} bytes: it changed while it was read"
            )
        self._left -= len(data)
        return data


@contextmanager
def open_stored(file: SourceFile, start: int = 0) -> Iterator[ByteStream]:
    """Open the bytes of a file as they are stored.

    Args:
        file: A file, or a section of one.
        start: First byte to read, counted from the start of the section.

    Yields:
        The stream; reading raises ValueError where the file is shorter than it was.
    """
    with file.open() as stored:
        yield _Section(file, stored, start)


@contextmanager
def open_stream(file: SourceFile, start: int = 0) -> Iterator[ByteStream]:
    """Open the bytes of a file, unpacked where they are compressed.

    Args:
        file: A file, or a section of one.
        start: First byte to read; 0 for a compressed file.

    Yields:
        The stream.
    """
    with open_stored(file, start) as stream:
        yield stream
