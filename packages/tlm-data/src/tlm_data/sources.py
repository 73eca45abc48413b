"""Where text comes from: files on this machine, read as a stream of documents."""

import codecs
import hashlib
import sysconfig
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TextSlice:
    """The bytes `start` to `end` of a UTF-8 text file.

    Attributes:
        path: The file.
        start: Offset of the first byte.
        end: Offset after the last byte.
    """

    path: Path
    start: int
    end: int

    @classmethod
    def whole(cls, path: Path) -> "TextSlice":
        """Return the slice that covers all of `path`."""
        return cls(path, 0, path.stat().st_size)

    @property
    def num_bytes(self) -> int:
        """Length in bytes."""
        return self.end - self.start

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in pieces of at most 1 MiB.

        Raises:
            ValueError: The file ends before the slice does.
        """
        with self.path.open("rb") as file:
            file.seek(self.start)
            left = self.num_bytes
            while left:
                chunk = file.read(min(left, _CHUNK_BYTES))
                if not chunk:
                    raise ValueError(f"{self.path} is shorter than {self.end} bytes: it changed")
                left -= len(chunk)
                yield chunk

    def text(self) -> Iterator[str]:
        """Yield the text in pieces, never half a character.

        Raises:
            ValueError: Bytes that are not UTF-8; the message has the file and the byte offset.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        offset = self.start
        for chunk in self.chunks():
            pending = len(decoder.getstate()[0])
            yield self._decode(decoder, chunk, offset - pending)
            offset += len(chunk)
        self._decode(decoder, b"", offset - len(decoder.getstate()[0]), final=True)

    def _decode(
        self, decoder: codecs.IncrementalDecoder, chunk: bytes, offset: int, final: bool = False
    ) -> str:
        try:
            return decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.path} is not UTF-8: byte {offset + error.start} "
                f"(0x{error.object[error.start]:02x}): {error.reason}; convert the file to UTF-8"
            ) from None


def read_documents(slices: Iterable[TextSlice], separator: str) -> Iterator[str]:
    """Yield the documents of text files, one after another.

    A file is one document, or as many as `separator` divides it into. Documents of white space
    alone are left out; the text of the others is untouched. Memory stays bounded by the longest
    document.

    Args:
        slices: What to read, in order.
        separator: The mark between documents, such as `<|endoftext|>`.

    Raises:
        ValueError: A file is not UTF-8.
    """
    for piece in slices:
        for document in _split(piece.text(), separator):
            if document and not document.isspace():
                yield document


def _split(chunks: Iterable[str], separator: str) -> Iterator[str]:
    pending: list[str] = []
    # A separator may lie across two chunks, so what could be its beginning is kept back.
    tail = ""
    for chunk in chunks:
        *finished, rest = (tail + chunk).split(separator)
        for part in finished:
            pending.append(part)
            yield "".join(pending)
            pending.clear()
        keep = max(0, len(rest) - len(separator) + 1)
        pending.append(rest[:keep])
        tail = rest[keep:]
    yield "".join([*pending, tail])


def stdlib_files() -> list[Path]:
    """List the Python standard library's own sources on this machine, in a fixed order.

    Tens of megabytes of real text that need no download. Installed packages and the few files
    that are not UTF-8 (test data on purpose) are left out.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = []
    for path in sorted(root.rglob("*.py")):
        if {"site-packages", "dist-packages", "__pycache__"} & set(path.parts):
            continue
        try:
            path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        files.append(path)
    return files


def split_files(
    files: Sequence[Path], val_fraction: float, root: Path | None = None
) -> tuple[list[TextSlice], list[TextSlice]]:
    """Hold out whole files for validation.

    Which ones depends on each file's name alone, so that a file added or removed moves no other.

    Args:
        files: The files to divide.
        val_fraction: Share of the files held out, 0 < val_fraction < 1.
        root: Folder that names are taken relative to.

    Returns:
        `(train, val)`.
    """
    _check_val_fraction(val_fraction)
    train: list[TextSlice] = []
    val: list[TextSlice] = []
    for path in files:
        name = path.relative_to(root) if root else path
        held_out = zlib.crc32(name.as_posix().encode()) < val_fraction * 2**32
        (val if held_out else train).append(TextSlice.whole(path))
    return train, val


def split_within_files(
    files: Sequence[Path], val_fraction: float, separator: str
) -> tuple[list[TextSlice], list[TextSlice]]:
    """Hold out the end of each file for validation.

    A file is cut after the first `separator` that ends in its last `val_fraction`, so that no
    document is divided; without one there, after the first line; without that, at a character.
    Nothing is held out of an empty file.

    Args:
        files: The files to divide.
        val_fraction: Share of each file's bytes held out, 0 < val_fraction < 1.
        separator: The mark between documents.

    Returns:
        `(train, val)`, one slice a file each.
    """
    _check_val_fraction(val_fraction)
    train: list[TextSlice] = []
    val: list[TextSlice] = []
    for path in files:
        whole = TextSlice.whole(path)
        target = round(whole.num_bytes * (1 - val_fraction))
        cut = _find(path, separator.encode(), target) or _find(path, b"\n", target)
        cut = cut or _character_start(path, target)
        train.append(TextSlice(path, 0, cut))
        val.append(TextSlice(path, cut, whole.end))
    return train, val


def _check_val_fraction(val_fraction: float) -> None:
    if not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction={val_fraction} must lie between 0 and 1")


def _find(path: Path, mark: bytes, target: int) -> int | None:
    """Return the offset after the first `mark` that ends at `target` or later, but not last."""
    tail = b""
    offset = start = max(0, target - len(mark))
    end = path.stat().st_size
    for chunk in TextSlice(path, start, end).chunks():
        window = tail + chunk
        at = window.find(mark)
        if at >= 0:
            cut = offset - len(tail) + at + len(mark)
            return cut if cut < end else None
        offset += len(chunk)
        tail = window[len(window) - len(mark) + 1 :]
    return None


def _character_start(path: Path, offset: int) -> int:
    """Return the offset of the first character that begins at `offset` or later."""
    with path.open("rb") as file:
        file.seek(offset)
        following = file.read(4)
    continuation = 0
    while continuation < len(following) and following[continuation] & 0xC0 == 0x80:
        continuation += 1
    return offset + continuation


def content_hash(slices: Iterable[TextSlice]) -> str:
    """Return the SHA-256, in hex, of what the slices hold and where one ends and another starts."""
    digest = hashlib.sha256()
    for piece in slices:
        digest.update(piece.num_bytes.to_bytes(8, "little"))
        for chunk in piece.chunks():
            digest.update(chunk)
    return digest.hexdigest()
