"""What a tokenizer is trained on: files and texts, in parts that are counted each on its own."""

import os
import stat
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from bpe_tok.segments import Segmenter
from bpe_tok.special import check_encodable
from bpe_tok.text_reader import check_utf8, read_chunks

Source = str | os.PathLike[str] | Iterable[os.PathLike[str] | str | bytes]
"""The path of a file; or paths as `os.PathLike`, and texts as strings or bytes."""

_PART_TEXTS = 1 << 12
_PART_CHARS = 1 << 20


class Part(Protocol):
    """A part of a corpus."""

    def count_with(self, counter: Any) -> int:
        """Have a `PretokenCounter` count this part; return its length in bytes."""


class FilePart(NamedTuple):
    """A part of a file.

    Attributes:
        name: the file.
        offset: where in the file it starts, in bytes.
        data: what there is.
    """

    name: str
    offset: int
    data: bytes

    def count_with(self, counter: Any) -> int:
        """Count the part; it must be UTF-8."""
        check_utf8(self.data, self.name, self.offset)
        counter.add(self.data)
        return len(self.data)


class Texts(NamedTuple):
    """Some texts.

    Attributes:
        first: the place of the first one among all.
        texts: the texts.
    """

    first: int
    texts: list[str | bytes]

    def count_with(self, counter: Any) -> int:
        """Count the texts; strings must not have lone surrogates."""
        num_bytes = 0
        for place, text in enumerate(self.texts, self.first):
            try:
                counter.add(text)
            except UnicodeEncodeError:
                check_encodable(text, f"text {place}")
                raise
            is_short = isinstance(text, bytes) or text.isascii()
            num_bytes += len(text) if is_short else len(text.encode())  # type: ignore[union-attr]
        return num_bytes


def parts_of(source: Source, segmenter: Segmenter) -> Iterator[Part]:
    """Read a corpus part by part.

    Args:
        source: see `Source`.
        segmenter: cuts files into parts.

    Yields:
        Parts; the pretokens of the corpus are those of its parts.

    Raises:
        TypeError: if something is neither a path nor a text.
        FileNotFoundError: if a file is not there.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            yield from _parts_of_file(source, segmenter)
        except (FileNotFoundError, IsADirectoryError) as error:
            error.strerror = f"{error.strerror}; a string is the path of a file, [text] is a text"
            raise
        return
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise TypeError(
            f"source must be a path, or an iterable of texts or paths, not {type(source).__name__}"
        )
    texts: list[str | bytes] = []
    first = num_chars = 0
    for place, item in enumerate(source):
        if isinstance(item, (str, bytes)):
            if place == 0:
                _warn_of_a_file_name(item)
            texts.append(item)
            num_chars += len(item)
        elif not isinstance(item, os.PathLike):
            raise TypeError(
                f"source[{place}]={item!r} must be a text (str or bytes) or a path (os.PathLike), "
                f"not {type(item).__name__}"
            )
        is_path = isinstance(item, os.PathLike)
        if texts and (is_path or len(texts) >= _PART_TEXTS or num_chars >= _PART_CHARS):
            yield Texts(first, texts)
            texts = []
            num_chars = 0
        if isinstance(item, os.PathLike):
            yield from _parts_of_file(item, segmenter)
        if not texts:
            first = place + 1
    if texts:
        yield Texts(first, texts)


def _warn_of_a_file_name(text: str | bytes) -> None:
    """Say that a text is a text, where it looks as if a file was meant."""
    if isinstance(text, str) and text.strip() and len(text) < 256 and os.path.isfile(text):  # noqa: PTH113
        warnings.warn(
            f"the text {text!r} is the name of a file too; pathlib.Path({text!r}) would read it",
            stacklevel=2,
        )


def _parts_of_file(path: str | os.PathLike[str], segmenter: Segmenter) -> Iterator[Part]:
    offset = 0
    for segment in segmenter.segments(read_chunks(path)):
        yield FilePart(os.fspath(path), offset, segment)
        offset += len(segment)


def size_in_bytes(source: Source) -> int | None:
    """Return how large a corpus is, or None if that is not known before it is read."""
    paths = [source] if isinstance(source, (str, os.PathLike)) else source
    if not isinstance(paths, (list, tuple)):
        return None
    if isinstance(source, (list, tuple)) and not all(isinstance(p, os.PathLike) for p in paths):
        return None
    states = [os.stat(path) for path in paths]  # noqa: PTH116
    return sum(s.st_size for s in states) if all(stat.S_ISREG(s.st_mode) for s in states) else None
