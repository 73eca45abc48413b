"""Documents of JSONL files: a field of each line."""

import json
import re
from collections.abc import Iterator

from tlm_data.plain_text import not_utf8
from tlm_data.read_options import ReadOptions, Report
from tlm_data.records import CHUNK_BYTES, NO_END, Block, LongRecord, RecordReader
from tlm_data.separator import Separator
from tlm_data.slices import FileRange
from tlm_data.sources import SourceFile
from tlm_data.streams import open_stream
from tlm_data.utf8 import NOT_UTF8, batches_and_pieces, without_blank

_LINE_END = Separator(b"\n")
_SURROGATE = re.compile("[\ud800-\udfff]")


class _BadLine(Exception):  # noqa: N818  (caught where it is known which line)
    """A line that gives no document: why, and the error that says so at length."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def read_jsonl(
    part: FileRange, options: ReadOptions, report: Report
) -> Iterator[list[bytes] | Iterator[bytes]]:
    """Yield the documents of the lines that start in a range of a JSONL file.

    Blank lines are passed over.

    Args:
        part: What to read.
        options: `field`, `errors` and `max_line_bytes` count.
        report: Told of what is left out.

    Yields:
        Documents, or the pieces of one that is long.

    Raises:
        ValueError: A line is too long, not JSON, not UTF-8 or lacks the field, and
            `options.errors` is `strict`.
    """
    end = part.end if part.file.compression == "none" else NO_END
    with open_stream(part.file, max(0, part.start - len(_LINE_END))) as stream:
        reader = RecordReader(stream, _LINE_END, part.start, end, options.max_line_bytes)
        for item in reader:
            if isinstance(item, LongRecord):
                _refuse_long(part.file, item, options, report)
                continue
            documents = _documents(part.file, item, options, report)
            yield from batches_and_pieces(without_blank(documents, report))


def _documents(file: SourceFile, block: Block, options: ReadOptions, report: Report) -> list[bytes]:
    documents = []
    for index, line in enumerate(block.records):
        if line.isspace():
            continue
        try:
            documents.append(_document(line, options, report))
        except (_BadLine, UnicodeDecodeError) as error:
            if options.errors != "strict":
                report.on_drop(error.reason if isinstance(error, _BadLine) else NOT_UTF8)
                continue
            offset = block.offset_of(index)
            if isinstance(error, UnicodeDecodeError):
                where = f"line {_line_number(file, offset)}, "
                raise not_utf8(file, offset, error, where) from None
            raise _bad_line(file, offset, str(error)) from None
    return documents


def _document(line: bytes, options: ReadOptions, report: Report) -> bytes:
    """Return the text of a line.

    Raises:
        UnicodeDecodeError: The line is not UTF-8 and is not to be mended.
        _BadLine: It has no text for another reason.
    """
    is_mended = False
    try:
        text = line.decode()
    except UnicodeDecodeError:
        if options.errors != "replace":
            raise
        text = line.decode("utf-8", "replace")
        is_mended = True
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _BadLine("not JSON", f"is not JSON: {error}") from None
    value = record.get(options.field) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise _BadLine("no field", _no_field(record, options.field))
    try:
        document = value.encode()
    except UnicodeEncodeError:  # JSON can spell half of a surrogate pair
        if options.errors != "replace":
            raise _BadLine(NOT_UTF8, "has an escape that is half a surrogate pair") from None
        document = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value).encode()
        is_mended = True
    if is_mended:
        report.on_replaced()
    return document


def _no_field(record: object, field: str) -> str:
    if not isinstance(record, dict):
        return f"is not an object with a field {field!r}"
    if field in record:
        return f"has a field {field!r} that is no string"
    return f"has no field {field!r}; its fields are {', '.join(map(repr, record)) or 'none'}"


def _refuse_long(
    file: SourceFile, record: LongRecord, options: ReadOptions, report: Report
) -> None:
    if options.errors == "strict":
        limit = options.max_line_bytes
        raise _bad_line(file, record.offset, f"is longer than max_line_bytes={limit}")
    report.on_drop("line too long")


def _bad_line(file: SourceFile, offset: int, what: str) -> ValueError:
    at = file.offset_bytes + offset
    unpacked = "" if file.compression == "none" else " of the unpacked file"
    return ValueError(
        f"{file.url}: line {_line_number(file, offset)} (at byte {at}{unpacked}) {what}; "
        "mend it, or let errors be 'skip'"
    )


def _line_number(file: SourceFile, offset: int) -> int:
    """Return the number of the line that starts at `offset`; the first is 1."""
    line_ends = 0
    with open_stream(file) as stream:
        while offset and (chunk := stream.read(min(CHUNK_BYTES, offset))):
            line_ends += chunk.count(b"\n")
            offset -= len(chunk)
    return line_ends + 1
