"""Compressed bytes unpacked as a stream, in bounded memory whatever they unpack to."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

_STORED_BYTES = 1 << 18
# So few at a time that what they unpack to is bounded: 1 MiB for gzip, 32 MiB for zstd.
_STEP_BYTES = 1 << 10


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Unpacked:
    """The unpacked bytes of a gzip or zstd file, of as many members or frames as it has.

    Args:
        stored: The compressed bytes.
        compression: `gzip` or `zstd`.
        name: The file, for messages.
    """

    def __init__(self, stored: _Readable, compression: str, name: str) -> None:
        self._stored = stored
        self._name = name
        self._compression = compression
        self._new_member, self._error = _UNPACKERS[compression]()
        self._parts = self._unpack()
        self._part = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or what is left.

        Raises:
            ValueError: The file is damaged, or ends too early.
        """
        taken = []
        while size and (self._part or self._next_part()):
            taken.append(self._part[:size])
            self._part = self._part[size:]
            size -= len(taken[-1])
        return b"".join(taken)

    def _next_part(self) -> bool:
        self._part = memoryview(next(self._parts, b""))
        return bool(self._part)

    def _unpack(self) -> Iterator[bytes]:
        member = None
        while stored := self._stored.read(_STORED_BYTES):
            for start in range(0, len(stored), _STEP_BYTES):
                packed = stored[start : start + _STEP_BYTES]
                while packed:
                    if member is None:
                        packed = packed.lstrip(b"\0")  # padding, as tapes and disks need it
                        if not packed:
                            break
                        member = self._new_member()
                    try:
                        unpacked = member.decompress(packed)
                    except self._error as error:
                        raise ValueError(
                            f"{self._name} cannot be unpacked: {error}; {self._way_out(error)}"
                        ) from None
                    if unpacked:
                        yield unpacked
                    packed = b""
                    if member.eof:
                        packed, member = member.unused_data, None
        if member is not None:
            raise ValueError(
                f"{self._name} ends in the middle of its {self._compression} data: it was cut "
                "off, get it once more"
            )

    def _way_out(self, error: Exception) -> str:
        if "too much memory" in str(error):  # more than the 128 MiB that zstd holds by itself
            return "pack it again without --long"
        return f"the {self._compression} file is damaged, get it once more"


def _gzip() -> tuple[Callable[[], Any], type[Exception]]:
    return lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), zlib.error


def _zstd() -> tuple[Callable[[], Any], type[Exception]]:
    import zstandard  # an extra

    return lambda: zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError


_UNPACKERS = {"gzip": _gzip, "zstd": _zstd}
