"""Documents of plain text: files, or what lies between separators in them."""

from collections.abc import Iterator
from dataclasses import dataclass

from tlm_data.read_options import LONG_DOCUMENT_BYTES, ReadOptions, Report
from tlm_data.records import NO_END, Block, LongRecord, RecordReader
from tlm_data.separator import Separator
from tlm_data.slices import FileRange
from tlm_data.sources import SourceFile
from tlm_data.streams import open_stream
from tlm_data.utf8 import checked_bytes, utf8_documents, utf8_pieces, without_blank


@dataclass(frozen=True)
class JoinedDocuments:
    """Documents as they stand in a file, with the separator between them, all of it UTF-8.

    A tokenizer that knows the separator as a special token need not have them divided.

    Attributes:
        block: The documents; some may be white space alone.
        report: Told of these when they are left out.
    """

    block: Block
    report: Report

    @property
    def text(self) -> bytes:
        """All of it; it may begin and end with separators, and they may touch."""
        return self.block.data

    @property
    def separator(self) -> bytes:
        """What divides the documents."""
        return self.block.separator.mark

    def divided(self) -> list[bytes]:
        """Return the documents that are more than white space."""
        return without_blank(self.block.records, self.report)


def read_text(
    part: FileRange, options: ReadOptions, report: Report
) -> Iterator[list[bytes] | JoinedDocuments | Iterator[bytes]]:
    """Yield the documents that start in a range of a plain text file.

    Their bytes are as they are in the file, line ends too; a byte order mark at the start of the
    file is left out.

    Args:
        part: What to read.
        options: `separator` and `errors` count.
        report: Told of what is left out.

    Yields:
        Documents, divided or not, or the pieces of one that is long.

    Raises:
        ValueError: A document is not UTF-8 and `options.errors` is `strict`.
    """
    separator = Separator((options.separator or "").encode())
    if part.start and not separator.mark:
        return  # the document of this file starts in its first range
    file = part.file
    end = part.end if file.compression == "none" else NO_END
    with open_stream(file, max(0, part.start - len(separator))) as stream:
        for item in RecordReader(stream, separator, part.start, end, LONG_DOCUMENT_BYTES):
            if isinstance(item, LongRecord):
                yield _long_document(file, item, options, report)
                continue

            try:
                checked_bytes(item.data)
                yield JoinedDocuments(item, report)
            except UnicodeDecodeError:
                yield _mended(file, item, options, report)


def _mended(file: SourceFile, block: Block, options: ReadOptions, report: Report) -> list[bytes]:
    def complain(index: int, error: UnicodeDecodeError) -> ValueError:
        return not_utf8(file, block.offset_of(index), error)

    documents = utf8_documents(block.records, options.errors, report, complain)
    return without_blank(documents, report)


def _long_document(
    file: SourceFile, record: LongRecord, options: ReadOptions, report: Report
) -> Iterator[bytes]:
    def complain(offset: int, error: UnicodeDecodeError) -> ValueError:
        return not_utf8(file, record.offset + offset, error)

    return utf8_pieces(record.pieces, options.errors, report, complain)


def not_utf8(
    file: SourceFile, offset: int, error: UnicodeDecodeError, where: str = ""
) -> ValueError:
    """Make the error for a file that is not UTF-8.

    Args:
        file: The file.
        offset: What `error.start` is counted from, in the file or its section, unpacked.
        error: What is wrong.
        where: More about the place, such as `line 7, `.
    """
    at = file.offset_bytes + offset + error.start
    unpacked = "" if file.compression == "none" else " of the unpacked file"
    return ValueError(
        f"{file.url} is not UTF-8: {where}byte {at}{unpacked} "
        f"(0x{error.object[error.start]:02x}): {error.reason}; convert the file to UTF-8, "
        "or let errors be 'replace' or 'skip'"
    )
