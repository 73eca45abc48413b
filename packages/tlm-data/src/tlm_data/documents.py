"""The documents of any files, one after another, as UTF-8 bytes."""

from collections.abc import Callable, Iterable, Iterator

import xxhash

from tlm_data.jsonl import read_jsonl
from tlm_data.parquet import read_parquet
from tlm_data.plain_text import JoinedDocuments as JoinedDocuments
from tlm_data.plain_text import read_text
from tlm_data.read_options import BATCH_BYTES, ReadOptions, Report
from tlm_data.read_options import LONG_DOCUMENT_BYTES as LONG_DOCUMENT_BYTES
from tlm_data.read_options import DroppedDocument as DroppedDocument
from tlm_data.slices import FileRange

_READERS = {"text": read_text, "jsonl": read_jsonl, "parquet": read_parquet}
_HASHED_BYTES = 4096
# Fewer are divided at once, since small files are encoded together.
_JOINED_BYTES = 1 << 18


def read_documents(
    ranges: Iterable[FileRange],
    options: ReadOptions,
    on_drop: Callable[[str], None] = lambda reason: None,
    on_replaced: Callable[[], None] = lambda: None,
) -> Iterator[list[bytes] | Iterator[bytes]]:
    """Yield the documents that start in ranges of files, in order.

    Memory stays bounded whatever the length of a file, a document or a line. Documents of white
    space alone are left out; the text of the others is untouched.

    Args:
        ranges: What to read, such as a slice of `plan_slices`.
        options: How to read it.
        on_drop: Called with the reason for each document that is left out: `empty` (white space
            alone), `not UTF-8`, `not JSON`, `no field` (or one that is no string),
            `line too long`.
        on_replaced: Called for each document in which bytes were replaced.

    Yields:
        Either a list of whole documents, UTF-8, together about 1 MiB; or, for a document of more
        than `LONG_DOCUMENT_BYTES`, an iterator of its pieces, cut between characters. Pieces that
        are not asked for before the next item are lost. They may end in `DroppedDocument`: then
        `on_drop` was told already, and the pieces so far are to be forgotten.

    Raises:
        ValueError: A file is damaged or changed, or a document cannot be read and
            `options.errors` is `strict`; the message has the file and the place in it.
    """
    for item in read_joined_documents(ranges, options, on_drop, on_replaced):
        yield item.divided() if isinstance(item, JoinedDocuments) else item


def read_joined_documents(
    ranges: Iterable[FileRange],
    options: ReadOptions,
    on_drop: Callable[[str], None],
    on_replaced: Callable[[], None],
) -> Iterator[list[bytes] | JoinedDocuments | Iterator[bytes]]:
    """Do what `read_documents` does, and leave documents of plain text as they stand in a file.

    To divide them takes a fifth of the time of encoding them, and some tokenizers need it not.
    """
    report = Report(on_drop, on_replaced)
    batch: list[bytes] = []
    num_bytes = 0
    for part in ranges:
        for item in _READERS[part.file.format](part, options, report):
            if isinstance(item, JoinedDocuments) and len(item.text) < _JOINED_BYTES:
                item = item.divided()
            if isinstance(item, list):
                batch += item
                num_bytes += sum(map(len, item))
            if batch and (num_bytes >= BATCH_BYTES or not isinstance(item, list)):
                yield batch
                batch, num_bytes = [], 0
            if not isinstance(item, list):
                yield item
    if batch:
        yield batch


def held_out(document: bytes, fraction: float) -> bool:
    """Say whether a document belongs to validation, by a hash of its first 4,096 bytes.

    So a document goes to the same side whatever else is in the corpus, and its copies with it.

    Args:
        document: The document, or its first piece.
        fraction: Share of the documents held out, 0 <= fraction <= 1.
    """
    return xxhash.xxh3_64_intdigest(document[:_HASHED_BYTES]) < fraction * 2**64
