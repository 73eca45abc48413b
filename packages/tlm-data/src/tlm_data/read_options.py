"""What a reader of documents is told, and the words in which it says what it left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

Errors = Literal["strict", "replace", "skip"]

BATCH_BYTES = 1 << 20
"""About how many bytes of documents come together."""

LONG_DOCUMENT_BYTES = 4 << 20
"""A longer document comes in pieces, so that memory stays bounded."""


@dataclass(frozen=True)
class ReadOptions:
    r"""How documents are read.

    Attributes:
        separator: The mark between the documents of a plain text file, such as `<|endoftext|>`
            or a blank line, `\n\n`. None: each file is one document.
        field: The field of a JSONL line, or the Parquet column, that holds the text.
        errors: What becomes of a document that cannot be read. `strict`: it is an error.
            `replace`: bytes that are not UTF-8 become U+FFFD, and what cannot be mended so (a
            line that is not JSON, or lacks the field) is dropped and counted. `skip`: it is
            dropped and counted.
        max_line_bytes: A longer JSONL line is not read, since it would have to be held in memory.
    """

    separator: str | None = None
    field: str = "text"
    errors: Errors = "strict"
    max_line_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if self.separator == "":
            raise ValueError("separator='' must have a character; None makes a file one document")
        if self.errors not in get_args(Errors):
            raise ValueError(f"errors={self.errors!r} must be one of {', '.join(get_args(Errors))}")
        if self.max_line_bytes < 1:
            raise ValueError(f"max_line_bytes={self.max_line_bytes} must be at least 1")


class DroppedDocument(Exception):  # noqa: N818  (a signal, as StopIteration is)
    """A document that came in pieces turned out to be unreadable: forget its pieces.

    Attributes:
        reason: Why, such as `not UTF-8`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Report:
    """Whom a reader tells what it did.

    Attributes:
        on_drop: Called with the reason for each document that is left out: `empty` (white space
            alone), `not UTF-8`, `not JSON`, `no field` (or one that is no string), `line too long`.
        on_replaced: Called for each document in which bytes were replaced.
    """

    on_drop: Callable[[str], None] = lambda reason: None
    on_replaced: Callable[[], None] = lambda: None
