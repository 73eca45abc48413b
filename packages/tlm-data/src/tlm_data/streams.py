"""The bytes of a file as a stream: found where they are stored, unpacked, limited to a section."""

import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from tlm_data.filesystems import in_words
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
        is_seekable: Whether it is read from any place, and not on from `start`.
    """

    def __init__(self, file: SourceFile, start: int, *, is_seekable: bool = False) -> None:
        self._file = file
        self._position = file.offset_bytes + start
        self._end = file.offset_bytes + file.size_bytes
        self._is_seekable = is_seekable
        self._stored: BinaryIO | None = None
        self._is_at_position = False
        self._is_whole = False  # or comes from its beginning only

    def close(self) -> None:
        """Close the file."""
        if self._stored:
            self._stored.close()
        self._stored = None
        self._is_at_position = False

    def seek(self, offset: int) -> None:
        """Let the next byte read be the one at `offset`, counted from the start of the section."""
        self._position = self._file.offset_bytes + offset
        self._is_at_position = False

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes.

        Raises:
            ValueError: The file ends before it should.
            ConnectionError: It is remote and cannot be read, also after several attempts.
            OSError: It is on this machine and cannot be read.
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
        if self._stored is None:
            self._stored = self._file.open(whole=self._is_whole)
        if not self._is_at_position:
            self._go_to_position(self._stored)
            self._is_at_position = True
        return self._stored.read(size)

    def _go_to_position(self, stored: BinaryIO) -> None:
        if not self._is_whole:
            stored.seek(self._position)
            return
        left = self._position
        while left and (passed := stored.read(min(left, _CHUNK_BYTES))):
            left -= len(passed)

    def _read_patiently(self, size: int) -> bytes:
        """Read from a remote file, opened once more where the connection broke."""
        for delay_seconds in (*_RETRY_DELAYS_SECONDS, None):
            try:
                return self._read(size)
            except Exception as error:  # each file system has errors of its own
                self.close()
                if isinstance(error, ValueError) and self._file.is_http and not self._is_whole:
                    # fsspec's word for a server that knows no ranges
                    if self._is_seekable:
                        raise ValueError(
                            f"{self._file.url} cannot be read from any place, since the server "
                            "sends whole files only: download it first"
                        ) from None
                    self._is_whole = True
                elif delay_seconds is None:
                    raise ConnectionError(
                        f"{self._file.url} cannot be read at byte {self._position}: "
                        f"{in_words(error.__cause__ or error)}"
                    ) from error
                else:
                    time.sleep(delay_seconds)
        raise AssertionError("the last attempt returns or raises")


class _Seekable(io.RawIOBase):
    """A section as Python's own kind of file."""

    def __init__(self, file: SourceFile) -> None:
        self._section = _Section(file, 0, is_seekable=True)
        self._size_bytes = file.size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._position = offset + (0, self._position, self._size_bytes)[whence]
        self._section.seek(self._position)
        return self._position

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = self._section.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._section.close()
        super().close()


def open_seekable(file: SourceFile) -> BinaryIO:
    """Open the bytes of a file as they are stored, to be read from any place.

    Reading raises what `open_stored` does, and ValueError where a server sends whole files only.
    """
    return io.BufferedReader(_Seekable(file))


@contextmanager
def open_stored(file: SourceFile, start: int = 0) -> Iterator[ByteStream]:
    """Open the bytes of a file as they are stored.

    Args:
        file: A file, or a section of one.
        start: First byte to read, counted from the start of the section.

    Yields:
        The stream; reading raises ValueError where the file is shorter than it was, and
        ConnectionError where a server cannot be reached, also after several attempts.
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
