"""Documents held to UTF-8, or mended, or left out."""

import codecs
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tlm_data.read_options import LONG_DOCUMENT_BYTES, DroppedDocument, Errors, Report

NOT_UTF8 = "not UTF-8"
_PIECE_BYTES = 1 << 20
# Text is looked at in blocks that stay in the processor's cache, and most of them are ASCII.
_BLOCK_BYTES = 1 << 12
_HIGH_BITS = np.uint64(0x8080808080808080)


def checked_bytes(data: bytes, is_last: bool = True) -> int:
    """Return how many bytes of a text are whole characters, all but the first bytes of the last.

    Args:
        data: UTF-8.
        is_last: Whether the text ends here: then all of its characters must be whole.

    Raises:
        UnicodeDecodeError: It is not UTF-8; `start` is where, counted from the start of `data`.
    """
    if data.isascii():
        return len(data)
    for start, end in _not_ascii(data):
        while start < end:
            block = data[start : min(start + _BLOCK_BYTES, end)]
            is_end = start + len(block) == end
            try:
                _, used = codecs.utf_8_decode(
                    block, "strict", is_end and (is_last or end < len(data))
                )
            except UnicodeDecodeError as error:
                at = start + error.start
                raise UnicodeDecodeError(
                    error.encoding, data, at, start + error.end, error.reason
                ) from None
            start += used
            if is_end:
                break
        if end == len(data):
            return start
    return len(data)


def _not_ascii(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of blocks, as long as can be, that have more than ASCII in each."""
    whole = len(data) // _BLOCK_BYTES
    row = _BLOCK_BYTES // 8
    words = np.frombuffer(data, np.uint64, whole * row).reshape(whole, row)
    is_found = np.bitwise_or.reduce(words, axis=1) & _HIGH_BITS != 0
    is_found = np.append(is_found, not data[whole * _BLOCK_BYTES :].isascii())
    edges = np.flatnonzero(np.diff(is_found, prepend=False, append=False))
    for first, stop in edges.reshape(-1, 2).tolist():
        yield first * _BLOCK_BYTES, min(stop * _BLOCK_BYTES, len(data))


def utf8_documents(
    documents: list[bytes],
    errors: Errors,
    report: Report,
    complain: Callable[[int, UnicodeDecodeError], ValueError],
) -> list[bytes]:
    """Return the documents that are UTF-8, or can be made so.

    Args:
        documents: Bytes of each.
        errors: What becomes of the others.
        report: Told of these.
        complain: Makes the error, of a document's index and of what is wrong in it.

    Raises:
        ValueError: One is not UTF-8 and `errors` is `strict`.
    """
    try:
        for document in documents:
            checked_bytes(document)
        return documents
    except UnicodeDecodeError:
        pass  # find out which, and what to do
    kept = []
    for index, document in enumerate(documents):
        try:
            document.decode()
        except UnicodeDecodeError as error:
            if errors == "strict":
                raise complain(index, error) from None
            if errors == "skip":
                report.on_drop(NOT_UTF8)
                continue
            report.on_replaced()
            document = document.decode("utf-8", "replace").encode()
        kept.append(document)
    return kept


def utf8_pieces(
    pieces: Iterable[bytes],
    errors: Errors,
    report: Report,
    complain: Callable[[int, UnicodeDecodeError], ValueError],
) -> Iterator[bytes]:
    """Yield the pieces of a long document, cut between characters.

    Args:
        pieces: Its bytes, cut anywhere.
        errors: What becomes of bytes that are not UTF-8.
        report: Told of these.
        complain: Makes the error, of the offset in the document that the other argument's
            `start` is counted from, and of what is wrong.

    Raises:
        ValueError: Bytes are not UTF-8 and `errors` is `strict`.
        DroppedDocument: They are not and `errors` is `skip`, or all of the document is white space.
    """
    offset = 0
    rest = b""
    was_replaced = False
    is_blank = True
    for piece, is_last in _with_last(pieces):
        data = rest + piece
        try:
            used = checked_bytes(data, is_last)
            text = data[:used]
        except UnicodeDecodeError as error:
            if errors == "strict":
                raise complain(offset, error) from None
            if errors == "skip":
                report.on_drop(NOT_UTF8)
                raise DroppedDocument(NOT_UTF8) from None
            was_replaced = True
            mended, used = codecs.utf_8_decode(data, "replace", is_last)
            text = mended.encode()
        offset += used
        rest = data[used:]
        is_blank = is_blank and (not text or text.isspace())
        if text:
            yield text
    if was_replaced:
        report.on_replaced()
    if is_blank:
        report.on_drop("empty")
        raise DroppedDocument("empty")


def _with_last(pieces: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    for piece in pieces:
        yield piece, False
    yield b"", True


def without_blank(documents: list[bytes], report: Report) -> list[bytes]:
    """Return the documents that are more than white space, and report the others."""
    kept = [document for document in documents if document and not document.isspace()]
    for _ in range(len(documents) - len(kept)):
        report.on_drop("empty")
    return kept


def batches_and_pieces(documents: list[bytes]) -> Iterator[list[bytes] | Iterator[bytes]]:
    """Yield documents in lists, and the pieces of each one that is long."""
    batch: list[bytes] = []
    for document in documents:
        if len(document) > LONG_DOCUMENT_BYTES:
            yield batch
            yield cut_utf8(document)
            batch = []
        else:
            batch.append(document)
    yield batch


def cut_utf8(document: bytes) -> Iterator[bytes]:
    """Yield a document that is UTF-8 in pieces of about 1 MiB, cut between characters."""
    start = 0
    while start < len(document):
        end = min(start + _PIECE_BYTES, len(document))
        while end < len(document) and document[end] & 0xC0 == 0x80:
            end += 1
        yield document[start:end]
        start = end
