"""Where text comes from: files, folders, globs and URLs, as a list of files to read."""

import codecs
import glob
import hashlib
import importlib.util
import os
import sysconfig
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast, get_args
from urllib.parse import urlsplit

Format = Literal["text", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]
OnSkipped = Callable[[str, str], None]
"""Called with the name of what is left out, and why."""

_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_UNREAD = {".7z", ".bz2", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip"}
_EXTRAS = {"gcs": "gcs", "gs": "gcs", "hf": "hf", "http": "http", "https": "http", "s3": "s3"}
# What a server or a file system calls the mark that changes when a file's content does.
_IDENTITIES = ("ETag", "etag", "blob_id", "checksum", "md5", "md5Hash", "Content-MD5", "Digest")
_TIMES = ("Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class SourceFile:
    """A file to read, or a section of one that is read as if it were a file.

    Attributes:
        url: An absolute path on this machine, or any URL that fsspec opens.
        size_bytes: Length as it is stored, that is compressed where it is.
        identity: Changes when the content does: a time, or the server's own mark.
        format: How documents lie in it.
        compression: How its bytes are packed.
        offset_bytes: Where the section starts; 0 for a whole file.
    """

    url: str
    size_bytes: int
    identity: str
    format: Format = "text"
    compression: Compression = "none"
    offset_bytes: int = 0

    @property
    def is_local(self) -> bool:
        """Whether the file is on this machine."""
        return "://" not in self.url

    def open(self) -> BinaryIO:
        """Open the whole file as it is stored, unbuffered where it is local."""
        if self.is_local:
            return cast(BinaryIO, Path(self.url).open("rb", buffering=0))
        filesystem, path = _filesystem(self.url)
        return cast(BinaryIO, filesystem.open(path, "rb", cache_type="readahead"))


def local_file(path: str | Path, format: Format | None = None) -> SourceFile:
    """Return the file at `path`, with its size and time as they are now.

    Args:
        path: A file on this machine.
        format: How documents lie in it; told from the name where it is not given.

    Raises:
        ValueError: The name says that the file is packed in a way that is not read here.
        FileNotFoundError: There is no such file.
    """
    status = Path(path).stat()
    # Absolute, since a worker may have another current folder.
    name = os.path.abspath(path)  # noqa: PTH100  (resolve would replace a link's name)
    return SourceFile(name, status.st_size, str(status.st_mtime_ns), *_kind(name, format))


def find_files(
    sources: Iterable[str | Path],
    *,
    format: Format | None = None,
    on_skipped: OnSkipped = lambda name, why: None,
) -> list[SourceFile]:
    """List the files that sources name, in a fixed order.

    The order is that of the sources; inside a folder or a glob, that of the names.

    Args:
        sources: Files, folders (with all below them), globs (`**` too) and URLs of these.
        format: How documents lie in all of them; told from each name where it is not given:
            `.jsonl` and `.ndjson`, `.parquet`, and anything else is plain text; `.gz` or `.zst`
            after these say that the file is compressed.
        on_skipped: Told of hidden files and of files named twice, which are left out.

    Raises:
        ValueError: A source holds no file, is packed in a way that is not read here, or needs a
            package that is not installed.
        FileNotFoundError: A source does not exist.
    """
    if format is not None and format not in get_args(Format):
        raise ValueError(f"format={format!r} must be one of {', '.join(get_args(Format))}")
    files: dict[str, SourceFile] = {}
    for source in sources:
        name = os.fspath(source)
        find = _find_remote if "://" in name else _find_local
        found = 0
        for file in find(name, format, on_skipped):
            found += 1
            key = file.url if "://" in file.url else os.path.realpath(file.url)
            if key in files:
                on_skipped(file.url, "named twice")
            else:
                files[key] = file
        if not found:
            raise ValueError(f"no file found in {name}: hidden files are left out")
    return list(files.values())


def _kind(name: str, format: Format | None) -> tuple[Format, Compression]:
    """Return the format and the compression that a file's name tells."""
    path = PurePosixPath(name.lower())
    compression = _COMPRESSIONS.get(path.suffix, "none")
    if compression != "none":
        path = path.with_suffix("")
    if path.suffix in _UNREAD:
        raise ValueError(
            f"{name}: {path.suffix} files are not read; unpack it, or pack it as .gz or .zst"
        )
    format = format or _FORMATS.get(path.suffix, "text")
    if format == "parquet":
        if compression != "none":
            raise ValueError(f"{name}: a Parquet file is compressed inside; unpack the outer one")
        _need("pyarrow", "parquet", name)
    if compression == "zstd":
        _need("zstandard", "zstd", name)
    return format, compression


def _need(package: str, extra: str, name: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"{name} needs {package}: pip install 'tlm-data[{extra}]'")


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(relative).parts)


def _find_local(name: str, format: Format | None, on_skipped: OnSkipped) -> Iterator[SourceFile]:
    path = Path(name).expanduser()
    if path.exists():
        matches = [path]
    elif glob.has_magic(name):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207  (Path.glob is relative)
        matches = [Path(match) for match in sorted(found)]
        if "**" in name:  # what lies in a folder is matched by itself
            matches = [match for match in matches if not match.is_dir()]
    else:
        raise FileNotFoundError(f"no file or folder {name}")
    for match in matches:
        for file in _walk(match, on_skipped) if match.is_dir() else [match]:
            yield local_file(file, format)


def _walk(folder: Path, on_skipped: OnSkipped) -> Iterator[Path]:
    """Yield the files below a folder, sorted by name at each level; hidden ones left out."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            on_skipped(str(entry), "hidden")
        elif entry.is_dir():
            yield from _walk(entry, on_skipped)
        elif entry.is_file():
            yield entry
        else:
            on_skipped(str(entry), "not a file")


def _filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path there."""
    import fsspec.core

    protocol = url.partition("://")[0]
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        way_out = f"pip install 'tlm-data[{extra}]'" if extra else str(error)
        raise ValueError(f"{protocol}:// needs another package: {way_out}") from error
    except ValueError as error:
        raise ValueError(f"{url} cannot be opened: {error}") from error
    return filesystem, path


def _find_remote(name: str, format: Format | None, on_skipped: OnSkipped) -> Iterator[SourceFile]:
    filesystem, path = _filesystem(name)
    is_http = urlsplit(name).scheme in ("http", "https")
    # In an HTTP URL a question mark begins the query.
    if "*" in path or (not is_http and glob.has_magic(path)):
        found = filesystem.glob(path, detail=True)
        root = path[: len(path) - len(path.lstrip("/"))]
    else:
        info = _info(filesystem, path, name)
        if info["type"] == "directory":
            found, root = filesystem.find(path, detail=True), path
        else:
            found, root = {path: info}, None
    for found_path, info in sorted(found.items()):
        if info["type"] == "directory":
            continue
        url = name if root is None else filesystem.unstrip_protocol(found_path)
        if root and _is_hidden(found_path[len(root) :]):
            on_skipped(url, "hidden")
            continue
        yield _remote_file(url, info, format)


def _info(filesystem: Any, path: str, url: str) -> dict[str, Any]:
    try:
        return cast(dict[str, Any], filesystem.info(path))
    except FileNotFoundError:
        raise FileNotFoundError(f"nothing is at {url}") from None
    except OSError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise OSError(f"{url} cannot be reached: {error or type(error).__name__}") from error


def _remote_file(url: str, info: dict[str, Any], format: Format | None) -> SourceFile:
    if info.get("size") is None:
        raise ValueError(f"the server does not say how long {url} is: download it first")
    kind = _kind(urlsplit(url).path if url.startswith("http") else url, format)
    marks = [str(info[key]) for key in (*_IDENTITIES, *_TIMES) if info.get(key)]
    return SourceFile(url, int(info["size"]), marks[0] if marks else "", *kind)


# ---- what follows goes when nothing uses it any more ----

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
