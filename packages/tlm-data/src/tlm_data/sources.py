"""Where text comes from: files, folders, globs and URLs, as a list of files to read."""

import glob
import importlib.util
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, cast, get_args
from urllib.parse import urlsplit

from tlm_data.filesystems import find_filesystem, find_info, is_http, refuse_page
from tlm_data.work_folder import read_corpus_file

Format = Literal["text", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]
OnSkipped = Callable[[str, str], None]
"""Called with the name of what is left out, and why."""

_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_UNREAD = {".7z", ".bz2", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip"}
# To take these for text in silence would train on brackets, commas or numbers.
_UNCLEAR = {".arrow", ".bin", ".csv", ".feather", ".json", ".npy", ".npz", ".tsv"}
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

    @property
    def is_http(self) -> bool:
        """Whether a web server has the file."""
        return is_http(self.url)

    def open(self, *, whole: bool = False) -> BinaryIO:
        """Open the whole file as it is stored, unbuffered where it is local.

        Args:
            whole: From a web server, get all of it in one answer, which is read from its
                beginning only.
        """
        if self.is_local:
            return cast(BinaryIO, Path(self.url).open("rb", buffering=0))
        filesystem, path = find_filesystem(self.url)
        options: dict[str, Any] = {"block_size": 0} if whole else {"cache_type": "readahead"}
        return cast(BinaryIO, filesystem.open(path, "rb", **options))


def local_file(path: str | Path, format: Format | None = None) -> SourceFile:
    """Return the file at `path`, with its size and time as they are now.

    Args:
        path: A file on this machine.
        format: How documents lie in it; told from the name where it is not given.

    Raises:
        ValueError: It is a pipe or a device, or its name says that it is packed in a way that is
            not read here, or does not say that it is text.
        FileNotFoundError: There is no such file.
    """
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            f"{path} is no regular file, so that it cannot be divided and read again: "
            "write what it gives into a file"
        )
    # Absolute, since a worker may have another current folder.
    name = os.path.abspath(path)  # noqa: PTH100  (resolve would replace a link's name)
    return SourceFile(name, status.st_size, str(status.st_mtime_ns), *_kind(name, format))


def remote_file(url: str) -> SourceFile:
    """Return the file at a URL as mere bytes, with its size and the server's mark as they are now.

    Args:
        url: Any URL that fsspec opens.

    Raises:
        ValueError: A package that the URL needs is not installed, or the server does not say how
            long the file is.
        FileNotFoundError: There is no such file.
        OSError: The server cannot be reached.
    """
    filesystem, path = find_filesystem(url)
    return _remote_file(filesystem.unstrip_protocol(path), find_info(filesystem, path, url))


def find_files(
    sources: Iterable[str | Path],
    *,
    format: Format | None = None,
    on_skipped: OnSkipped = lambda name, why: None,
) -> list[SourceFile]:
    """List the files that sources name, in a fixed order.

    The order is that of the sources; inside a folder or a glob, that of the names, level by level.

    Args:
        sources: Files, folders (with all below them), globs (`**` too) and URLs of these.
        format: How documents lie in all of them; told from each name where it is not given:
            `.jsonl` and `.ndjson`, `.parquet`, and most others are plain text; `.gz` or `.zst`
            after these say that the file is compressed. It must be given for `.json`, `.csv` and
            a few more.
        on_skipped: Told of what is left out: hidden files, files named twice, and in a folder what
            is no regular file or a corpus that was prepared there.

    Raises:
        TypeError: `sources` is one source and not a list.
        ValueError: A source holds no file, is packed in a way that is not read here, does not say
            how it is to be read, or needs a package that is not installed.
        FileNotFoundError: A source does not exist.
        OSError: A server cannot be reached.
    """
    if isinstance(sources, str | Path):
        raise TypeError(f"sources={sources!r} must be a list: [{sources!r}]")
    if format is not None and format not in get_args(Format):
        raise ValueError(f"format={format!r} must be one of {', '.join(get_args(Format))}")
    files: dict[str, SourceFile] = {}
    for source in sources:
        name = os.fspath(source).removeprefix("file://")
        if not name:
            raise ValueError(f"source={source!r} must name something; '.' is the current folder")
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
            raise ValueError(
                f"no file found in {name}: hidden files and prepared corpora are left out"
            )
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
    if format is None and path.suffix in _UNCLEAR:
        raise ValueError(
            f"{name}: how to read a {path.suffix} file must be said; give the format: 'jsonl' if "
            "each line is a JSON object, 'text' to take all of it as it stands"
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
        matches = sorted(Path(match) for match in found)
        if "**" in name:  # what lies in a folder is matched by itself
            matches = [match for match in matches if not match.is_dir()]
    elif name == "-":
        raise ValueError(
            "standard input cannot be divided and read again: write what it gives into a file"
        )
    else:
        raise FileNotFoundError(f"no file or folder {name}")
    for match in matches:
        for file in _walk(match, on_skipped, set()) if match.is_dir() else [match]:
            yield local_file(file, format)


def _walk(folder: Path, on_skipped: OnSkipped, walked: set[str]) -> Iterator[Path]:
    """Yield the files below a folder, sorted by name at each level.

    Args:
        folder: The folder.
        on_skipped: Told of what is left out.
        walked: The real names of the folders that were seen. Links can make a few folders many.
    """
    name = os.path.realpath(folder)
    if name in walked:
        on_skipped(str(folder), "named twice")
        return
    walked.add(name)
    if read_corpus_file(folder):
        on_skipped(str(folder), "a prepared corpus")
        return
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            on_skipped(str(entry), "hidden")
        elif entry.is_dir():
            yield from _walk(entry, on_skipped, walked)
        elif entry.is_file():
            yield entry
        else:
            on_skipped(str(entry), "not a file")


def _find_remote(name: str, format: Format | None, on_skipped: OnSkipped) -> Iterator[SourceFile]:
    filesystem, path = find_filesystem(name)
    # In an HTTP URL a question mark begins the query.
    if "*" in path or (not is_http(name) and glob.has_magic(path)):
        # What is hidden counts below the folder that is named without a wildcard.
        root = re.split(r"[*?[]", path, maxsplit=1)[0].rpartition("/")[0]
        if is_http(name):  # says why where it cannot be listed
            find_info(filesystem, f"{root}/", f"{root}/")
        found = filesystem.glob(path, detail=True)
    else:
        info = find_info(filesystem, path, name)
        if info["type"] == "directory":
            found, root = filesystem.find(path, detail=True), path
        else:  # asked for by its name
            found, root = {path: info}, None
    for found_path, info in sorted(found.items(), key=lambda item: item[0].split("/")):
        if info["type"] == "directory":
            continue
        url = filesystem.unstrip_protocol(found_path)
        if root is not None and _is_hidden(found_path[len(root) :]):
            on_skipped(url, "hidden")
            continue
        if info.get("size") is None:  # a web page that lists files does not say more than names
            info = find_info(filesystem, found_path, url)
        if is_http(url):
            refuse_page(url, info, is_format_given=format is not None)
        kind = _kind(urlsplit(url).path if is_http(url) else url, format)
        yield _remote_file(url, info, *kind)


def _remote_file(
    url: str, info: dict[str, Any], format: Format = "text", compression: Compression = "none"
) -> SourceFile:
    if info.get("size") is None:
        raise ValueError(f"the server does not say how long {url} is: get it with another program")
    marks = [str(info[key]) for key in (*_IDENTITIES, *_TIMES) if info.get(key)]
    return SourceFile(url, int(info["size"]), marks[0] if marks else "", format, compression)
