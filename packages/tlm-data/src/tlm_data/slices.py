"""How the reading of many files is divided into pieces of work of about one size."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tlm_data.sources import SourceFile
from tlm_data.streams import open_stored

# Small slices share the work evenly and lose little to a kill, but a store of many thousand shards
# is slow to open.
_MIN_SLICE_BYTES = 16 << 20
_MAX_SLICE_BYTES = 1 << 30
_MAX_SLICES = 512


@dataclass(frozen=True)
class FileRange:
    """The documents of a file that start in a range of its bytes.

    Which those are can be told from the bytes at the range's ends alone, so that ranges that
    cover a file give each of its documents once, wherever it is cut. What "starts" means depends
    on the format: a document of plain text or a JSONL line its first byte, for Parquet the first
    byte of the row group that holds it. A document may end beyond the range.

    Attributes:
        file: The file.
        start: First byte, counted from the start of the file (or of its section).
        end: After the last byte. A compressed file is always one range of all of it.
    """

    file: SourceFile
    start: int
    end: int

    @classmethod
    def whole(cls, file: SourceFile) -> "FileRange":
        """Return the range that covers all of `file`."""
        return cls(file, 0, file.size_bytes)

    @property
    def num_bytes(self) -> int:
        """Length in bytes, as they are stored."""
        return self.end - self.start


def plan_slices(
    files: Sequence[SourceFile], *, slice_bytes: int | None = None
) -> list[tuple[FileRange, ...]]:
    """Divide files into slices of about `slice_bytes`.

    Files are taken in order. Small ones share a slice; one that is longer is cut into ranges of
    nearly equal length, each a slice of its own, unless it is compressed: then it is one slice.
    The plan depends on the sizes and nothing else. Empty files are left out.

    Args:
        files: What to read.
        slice_bytes: Length at which a slice is full, in stored bytes. None: from 16 MiB to 1 GiB,
            so that there are not many more than 512 slices.

    Returns:
        The slices, each a tuple of ranges in order.

    Raises:
        ValueError: `slice_bytes` is less than 1.
    """
    if slice_bytes is None:
        share = sum(file.size_bytes for file in files) // _MAX_SLICES
        slice_bytes = min(max(1 << share.bit_length(), _MIN_SLICE_BYTES), _MAX_SLICE_BYTES)
    if slice_bytes < 1:
        raise ValueError(f"slice_bytes={slice_bytes} must be at least 1")
    slices: list[tuple[FileRange, ...]] = []
    group: list[FileRange] = []
    room = slice_bytes
    for file in files:
        size = file.size_bytes
        if group and size > room:
            slices.append(tuple(group))
            group, room = [], slice_bytes
        if size > slice_bytes and file.compression == "none":
            parts = -(-size // slice_bytes)
            cuts = [size * part // parts for part in range(parts + 1)]
            slices += [(FileRange(file, *cut),) for cut in pairwise(cuts)]
        elif size:
            group.append(FileRange.whole(file))
            room -= size
    if group:
        slices.append(tuple(group))
    return slices


def content_hash(files: Iterable[SourceFile]) -> str:
    """Return the SHA-256, in hex, of what files hold and where one ends and another starts.

    The bytes are taken as they are stored; names and times do not count.
    """
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.size_bytes.to_bytes(8, "little"))
        with open_stored(file) as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
