"""A stream of bytes divided at a separator, the same way wherever its reading starts."""

from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass

from tlm_data.separator import Separator
from tlm_data.streams import ByteStream

CHUNK_BYTES = 1 << 20
_MAX_CHUNK_BYTES = 4 << 20
_OVERREAD_BYTES = 1 << 16

NO_END = 1 << 62
"""The end of a range that ends with its stream."""


@dataclass(frozen=True)
class Block:
    """Whole records that follow each other, as they stand in the stream.

    Attributes:
        data: The records and the marks between them; it may begin and end with marks.
        offset: Where `data` starts in the stream.
        separator: What divides the records.
    """

    data: bytes
    offset: int
    separator: Separator

    @property
    def records(self) -> list[bytes]:
        """Bytes of each record; none is empty."""
        return [record for record in self.separator.split(self.data) if record]

    def offset_of(self, index: int) -> int:
        """Return where a record starts in the stream."""
        starts = [start for start, end in self.separator.spans(self.data) if end > start]
        return self.offset + starts[index]


@dataclass(frozen=True)
class LongRecord:
    """A record that comes in pieces, since it is too long to be held.

    Attributes:
        offset: Where it starts in the stream.
        pieces: Its bytes, in pieces of a few MiB at most.
    """

    offset: int
    pieces: Iterator[bytes]


class RecordReader:
    """Reads the records that start in a range of a stream.

    Args:
        stream: Stands at byte `max(0, start - len(separator))`.
        separator: What divides records.
        start: First byte of the range.
        end: After its last byte; the last record may end beyond it.
        long_bytes: A longer record comes as a `LongRecord`.
    """

    def __init__(
        self, stream: ByteStream, separator: Separator, start: int, end: int, long_bytes: int
    ) -> None:
        self._stream = stream
        self._separator = separator
        self._end = end
        self._long_bytes = long_bytes
        self._position = max(0, start - len(separator))
        # What was read and is not given out yet. After a mark it starts with that mark, so that
        # one that overlaps it is seen.
        self._rest = b""
        # What lies before the first mark began before the range: another range has it.
        self._is_foreign = start > 0
        self._is_long = False
        self._is_over = False

    def __iter__(self) -> Iterator[Block | LongRecord]:
        """Yield the records in order; a `LongRecord` is lost when the next one is asked for."""
        # No read passes the end of the range while records that start before it are in sight.
        while self._position < self._end and self._grow():
            yield from self._finished_records()
            while not self._is_foreign and len(self._rest) - self._open > self._long_bytes:
                yield from self._long_record()
                if self._position > self._end:
                    return
                yield from self._finished_records()
        if not self._is_foreign:
            yield from self._last_record()

    @property
    def _open(self) -> int:
        """Where the unfinished record starts in `_rest`."""
        return len(self._separator) if self._rest.startswith(self._separator.mark) else 0

    def _grow(self) -> bool:
        """Read on; return False at the end of the stream."""
        is_inside = self._position < self._end
        # Beyond the range there is the end of one record, of which only a long one is long.
        size = CHUNK_BYTES if is_inside or self._is_long else _OVERREAD_BYTES
        # As much as is at hand already, so that a long record is searched a few times only.
        size = max(size, min(len(self._rest), _MAX_CHUNK_BYTES))
        if is_inside:
            size = min(size, self._end - self._position)
        chunk = self._stream.read(size)
        self._position += len(chunk)
        self._rest = self._rest + chunk if self._rest else chunk
        self._is_over = not chunk
        return bool(chunk)

    def _finished_records(self) -> Iterator[Block]:
        data, mark_bytes = self._rest, len(self._separator)
        last = self._separator.last(data)
        if last < 0:
            if self._is_foreign:  # keep what may be the beginning of a mark
                self._rest = data[max(0, len(data) - mark_bytes + 1) :]
            return
        self._rest = data[last:]
        offset = self._position - len(data)
        first = 0
        if self._is_foreign:
            self._is_foreign = False
            first = self._separator.first(data)
        yield from self._block(data[first : last + mark_bytes], offset + first)

    def _last_record(self) -> Iterator[Block | LongRecord]:
        """Yield the record that is open at the end of the range."""
        while True:
            offset = self._position - len(self._rest)
            spans = self._separator.spans(self._rest)
            start, end = spans[1 if self._open else 0]
            is_whole = end < len(self._rest) or self._is_over
            if offset + start >= self._end:  # the bytes before it belonged to a mark
                return
            if is_whole:
                yield from self._block(self._rest[start:end], offset + start)
                return
            if end - start > self._long_bytes:
                yield from self._long_record()
                return
            self._grow()

    def _block(self, data: bytes, offset: int) -> Iterator[Block]:
        if offset == 0 and data.startswith(BOM_UTF8):  # a mark of the encoding, not text
            offset = len(BOM_UTF8)
            data = data[offset:]
        if data and data != self._separator.mark:
            yield Block(data, offset, self._separator)

    def _long_record(self) -> Iterator[LongRecord]:
        self._rest = self._rest[self._open :]
        offset = self._position - len(self._rest)
        if offset == 0 and self._rest.startswith(BOM_UTF8):
            offset = len(BOM_UTF8)
            self._rest = self._rest[offset:]
        self._is_long = True
        yield LongRecord(offset, self._pieces())
        for _ in self._pieces():
            pass  # what nobody wanted

    def _pieces(self) -> Iterator[bytes]:
        """Yield what is left of the long record; may be left and called again."""
        mark = self._separator.mark
        while self._is_long:
            at = self._separator.first(self._rest)
            if at < 0 and self._is_over:
                at = len(self._rest)
            if at >= 0:
                self._is_long = False
                piece, self._rest = self._rest[:at], self._rest[at:]
            else:  # the last bytes may be the beginning of a mark
                kept = max(0, len(self._rest) - len(mark) + 1) if mark else len(self._rest)
                piece, self._rest = self._rest[:kept], self._rest[kept:]
                self._grow()
            if piece:
                yield piece
