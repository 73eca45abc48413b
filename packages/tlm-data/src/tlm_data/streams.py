"""The bytes of a file as a stream: found where they are stored, unpacked, limited to a section."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from tlm_data.sources import SourceFile
from tlm_data.unpack import Unpacked

_CHUNK_BYTES = 1 << 20
_RETRY_DELAYS_SECONDS = (0.5, 2.0, 8.0)


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
        self._position = file.offset_bytes
        self._end = file.offset_bytes + file.size_bytes
        self._go_to(file.offset_bytes + start)

    def _go_to(self, position: int) -> None:
        if position and self._stored.seekable():
            self._stored.seek(position)
        else:  # a server that sends files only as a whole
            while self._stored.tell() < position and self._stored.read(_CHUNK_BYTES):
                pass
        self._position = position

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes.

        Raises:
            ValueError: The file ends before it should.
            OSError: It cannot be read, also after several attempts where it is remote.
        """
        size = min(size, self._end - self._position)
        if size <= 0:
            return b""
        data = self._stored.read(size) if self._file.is_local else self._read_remote(size)
        if not data:
            raise ValueError(
                f"{self._file.url} is shorter than {self._end} bytes: it changed while it was read"
            )
        self._position += len(data)
        return data

    def _read_remote(self, size: int) -> bytes:
        for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
            try:
                return self._stored.read(size)
            except Exception as error:  # each file system has errors of its own
                if delay_seconds is None or not self._stored.seekable():
                    raise OSError(
                        f"{self._file.url} cannot be read at byte {self._position}: "
                        f"{error or type(error).__name__}"
                    ) from error
            time.sleep(delay_seconds)
            self._go_to(self._position)
        raise AssertionError("the last attempt returns or raises")


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
        The stream; reading raises ValueError where the file is damaged or cut off.
    """
    with open_stored(file, start) as stream:
        if file.compression == "none":
            yield stream
        else:
            yield Unpacked(stream, file.compression, file.url)
