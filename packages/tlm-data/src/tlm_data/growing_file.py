"""A file that is written piece by piece and appears, whole and with its checksum, at the end."""

import glob
import io
import os
from pathlib import Path
from typing import Any

import xxhash

from tlm_data import atomic

_BUFFER_BYTES = 1 << 17


class GrowingFile:
    """Writes a file under a temporary name, in space that is taken from the disk beforehand.

    What a killed process left behind under such a name is removed by the next that writes the
    same file; two at once must not.

    Args:
        path: The file; its folder must exist.
        step_bytes: How much space to take at a time.

    Attributes:
        path: The file.
        size_bytes: How much was written.
    """

    def __init__(self, path: Path, step_bytes: int) -> None:
        self.path = path
        self.size_bytes = 0
        for left_behind in path.parent.glob(f".{glob.escape(path.name)}.*"):
            left_behind.unlink(missing_ok=True)
        self._step_bytes = step_bytes
        self._reserved_bytes = 0
        self._digest = xxhash.xxh3_128()
        self._temporary = atomic.temporary_sibling(path)
        self._raw = io.FileIO(self._temporary, "xb")
        self._file = io.BufferedWriter(self._raw, _BUFFER_BYTES)

    def write(self, data: memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: The disk is full.
        """
        self._reserve(data.nbytes)
        with atomic.naming_a_full_disk(self.path, data.nbytes):
            self._file.write(data)
        self._digest.update(data)
        self.size_bytes += data.nbytes

    def mark(self) -> tuple[int, Any]:
        """Return the present end, for `rewind`."""
        return self.size_bytes, self._digest.copy()

    def rewind(self, mark: tuple[int, Any]) -> None:
        """Take back all that was written since `mark`."""
        self.size_bytes, self._digest = mark
        self._file.seek(self.size_bytes)

    def finish(self) -> str:
        """Bring all of it onto the disk; return its 128-bit XXH3 in hex.

        Raises:
            OSError: The disk is full.
        """
        with atomic.naming_a_full_disk(self.path, self.size_bytes):
            self._file.truncate(self.size_bytes)  # what was reserved or taken back
            os.fsync(self._file.fileno())
            self._file.close()
        return self._digest.hexdigest()

    def publish(self) -> None:
        """Give the finished file its name; the folder is not forced onto the disk."""
        self._temporary.replace(self.path)

    def abort(self) -> None:
        """Remove what was written; after `publish` nothing happens."""
        self._raw.close()  # not through the buffer, which would write what it still holds
        self._temporary.unlink(missing_ok=True)

    def _reserve(self, more_bytes: int) -> None:
        needed = self.size_bytes + more_bytes
        if needed <= self._reserved_bytes:
            return
        try:
            size_bytes = max(needed, self._reserved_bytes + self._step_bytes)
            atomic.reserve(self._file, size_bytes)
        except OSError:  # less than a whole step may still fit
            size_bytes = needed
            atomic.reserve(self._file, size_bytes)
        self._reserved_bytes = size_bytes
