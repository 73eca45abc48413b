"""Downloads that go on where they were stopped, and end in a whole file or none."""

import base64
import binascii
import hashlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock, Timeout

from tlm_data import atomic
from tlm_data.sources import SourceFile, remote_file
from tlm_data.streams import open_stored

_CHUNK_BYTES = 1 << 20
_CHECKSUM_SECONDS = 30

OnDownloadProgress = Callable[[int, int], None]
"""Called with how many bytes are there, and of how many."""


def download(
    url: str,
    path: str | Path,
    *,
    size_bytes: int | None = None,
    sha256: str | None = None,
    on_progress: OnDownloadProgress = lambda done, total: None,
) -> Path:
    """Copy what a URL holds into a file.

    What came before a stop, a crash or a broken connection is kept in `PATH.part`, and is the
    start of the next attempt unless the source changed. The file takes its name when its length
    and checksum are right: the one that is given here, or else the one that the server states.
    A file that is there already is left as it is if it is the right one; so it is also where the
    server cannot be reached to ask.

    Args:
        url: Any URL that fsspec opens.
        path: The file to make; its folder is made too.
        size_bytes: How long the file must be; None where that is not known.
        sha256: Its checksum, in hex; None where that is not known.
        on_progress: Called after each MiB or so.

    Returns:
        `path`.

    Raises:
        ValueError: The source or the file at `path` is not the one that was to be expected, or
            another process downloads it now.
        FileNotFoundError: The server has no such file.
        OSError: The connection broke again and again, or the disk is full.
    """
    path = Path(path)
    source = _find_source(url, path, size_bytes)
    if size_bytes is not None and source.size_bytes != size_bytes:
        raise ValueError(f"{url} has {source.size_bytes} bytes, not {size_bytes}: it was changed")
    sha256 = sha256 or promised_sha256(url)
    if path.exists():
        _check(path, path, source, sha256)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        with lock.acquire(timeout=0):
            _download(source, path, sha256, on_progress)
    except Timeout:
        raise ValueError(f"{path} is being downloaded by another process: wait for it") from None
    return path


def _find_source(url: str, path: Path, size_bytes: int | None) -> SourceFile:
    """Return what the server has, or what it must have where it is not needed and out of reach."""
    try:
        return remote_file(url)
    except FileNotFoundError:
        raise
    except OSError:
        if not path.exists():
            raise
        return SourceFile(url, path.stat().st_size if size_bytes is None else size_bytes, "")


def _download(
    source: SourceFile, path: Path, sha256: str | None, on_progress: OnDownloadProgress
) -> None:
    part = path.with_name(path.name + ".part")
    state = path.with_name(path.name + ".part.json")
    # What tells whether the bytes that are there belong to the file that is there now.
    wanted = {"url": source.url, "size_bytes": source.size_bytes, "identity": source.identity}
    if not (part.exists() and source.identity and _read_state(state) == wanted):
        part.unlink(missing_ok=True)
        atomic.write_file(state, json.dumps(wanted))
    with part.open("ab") as file:
        done = file.tell()
        on_progress(done, source.size_bytes)
        if done < source.size_bytes:
            with open_stored(source, done) as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    file.write(chunk)
                    done += len(chunk)
                    on_progress(done, source.size_bytes)
        file.flush()
        os.fsync(file.fileno())
    try:
        _check(part, path, source, sha256)
    except ValueError:
        part.unlink()  # the next attempt must not go on from it
        state.unlink()
        raise
    part.replace(path)
    state.unlink()
    atomic.fsync_path(path.parent)


def _read_state(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _check(file: Path, path: Path, source: SourceFile, sha256: str | None) -> None:
    """Raise ValueError if what is in `file`, which is to be `path`, is not the source."""
    size_bytes = file.stat().st_size
    if size_bytes != source.size_bytes:
        raise ValueError(
            f"{path} has {size_bytes} bytes, not {source.size_bytes} as {source.url}: "
            "remove it to download it again"
        )
    if sha256 is None:
        return
    with file.open("rb") as stored:
        digest = hashlib.sha256()
        while chunk := stored.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != sha256.lower():
        way_out = "remove it to download it again" if file == path else "download it again"
        raise ValueError(
            f"{path} has the SHA-256 {digest.hexdigest()}, not {sha256}: it was damaged on its "
            f"way, or {source.url} was changed; {way_out}"
        )


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Lets the first answer be seen: it is where Hugging Face states the checksum."""

    def redirect_request(self, *args: object, **options: object) -> None:
        return None


def promised_sha256(url: str) -> str | None:
    """Return the SHA-256, in hex, that an HTTP server states for a file; None if it does not.

    Read are `Repr-Digest` (RFC 9530) and Hugging Face's `X-Linked-ETag`.
    """
    if not url.startswith(("http://", "https://")):
        return None
    opener = urllib.request.build_opener(_NoRedirect)
    request = urllib.request.Request(url, method="HEAD")
    try:
        with opener.open(request, timeout=_CHECKSUM_SECONDS) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        headers = error.headers
        error.close()
    except (OSError, HTTPException):
        return None  # reading the file itself will say what is wrong
    linked = headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"').lower()
    if len(linked) == 64 and set(linked) <= set("0123456789abcdef"):
        return str(linked)
    for item in headers.get("Repr-Digest", "").split(","):
        algorithm, _, value = item.strip().partition("=")
        if algorithm == "sha-256":
            try:
                return base64.b64decode(value.strip(":"), validate=True).hex()
            except binascii.Error:
                return None
    return None
