"""The bytes of a file as a stream: found where they are stored, unpacked, limited to a section."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

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
        start: First byte to read, counted from the start of the section.
    """

    def __init__(self, file: SourceFile, start: int) -> None:
        self._file = file
        self._position = file.offset_bytes + start
        self._end = file.offset_bytes + file.size_bytes
        self._stored = file.open()
        self._is_at_position = False
        self._is_whole = False  # or comes from its beginning only

    def close(self) -> None:
        """Close the file."""
        self._stored.close()

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes.

        Raises:
            ValueError: The file ends before it should.
            OSError: It cannot be read, also after several attempts where it is remote.
        """
        size = min(size, self._end - self._position)
        if size <= 0:
            return b""
        data = self._read(size) if self._file.is_local else self._read_patiently(size)
        if not data:
            raise ValueError(
                f"{self._file.url} is shorter than {self._end} bytes: it changed while it was read"
            )
        self._position += len(data)
        return data

    def _read(self, size: int) -> bytes:
        if not self._is_at_position:
            self._go_to_position()
            self._is_at_position = True
        return self._stored.read(size)

    def _go_to_position(self) -> None:
        if not self._is_whole:
            self._stored.seek(self._position)
            return
        left = self._position
        while left and (passed := self._stored.read(min(left, _CHUNK_BYTES))):
            left -= len(passed)

    def _read_patiently(self, size: int) -> bytes:
        """Read from a remote file, opened once more where the connection broke."""
        for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
            try:
                return self._read(size)
            except Exception as error:  # each file system has errors of its own
                if isinstance(error, ValueError) and self._file.is_http and not self._is_whole:
                    # fsspec's word for a server that knows no ranges
                    self._is_whole = True
                elif delay_seconds is None:
                    raise OSError(
                        f"{self._file.url} cannot be read at byte {self._position}: "
                        f"{error or type(error).__name__}"
                    ) from error
                else:
                    time.sleep(delay_seconds)
            self._stored.close()
            self._stored = self._file.open(whole=self._is_whole)
            self._is_at_position = False
        raise AssertionError("the last attempt returns or raises")


@contextmanager
def open_stored(file: SourceFile, start: int = 0) -> Iterator[ByteStream]:
    """Open the bytes of a file as they are stored.

    Args:
        file: A file, or a section of one.
        start: First byte to read, counted from the start of the section.

    Yields:
        The stream; reading raises ValueError where the file is shorter than it was, and OSError
        where a server cannot be reached, also after several attempts.
    """
    section = _Section(file, start)
    try:
        yield section
    finally:
        section.close()


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
