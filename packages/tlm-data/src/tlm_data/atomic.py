"""Files and folders that appear whole or not at all, also after a crash or a full disk."""

import errno
import os
import secrets
import shutil
import string
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def fsync_path(path: Path) -> None:
    """Force a file's bytes, or a folder's list of names, onto the disk."""
    if path.is_dir() and os.name != "posix":
        return  # only POSIX systems open a folder
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: str | bytes) -> None:
    """Replace `path` by a file with `content`; a reader sees the old one or the new one.

    Args:
        path: The file; its folder must exist.
        content: Text (written as UTF-8) or bytes.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = temporary_sibling(path)
    try:
        with naming_a_full_disk(path, len(data)), temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def reserve(file: Any, size_bytes: int) -> None:
    """Take the space for a file's first `size_bytes` bytes from the disk before they are written.

    So a disk that is too full is known at once, and not in the middle of a write. The file is
    then at least that long; cut it to what was written when it is done. Where the system knows
    no such request nothing happens, and the write itself finds out.

    Args:
        file: A file open for writing, with a `name` and a `fileno()`; what it holds already
            has its space.
        size_bytes: Length to make room for, from the start of the file.

    Raises:
        OSError: ENOSPC or EDQUOT, saying what was asked for and what is free.
    """
    start = os.fstat(file.fileno()).st_size
    if size_bytes <= start or not hasattr(os, "posix_fallocate"):
        return
    try:
        with naming_a_full_disk(Path(file.name), size_bytes - start):
            os.posix_fallocate(file.fileno(), start, size_bytes - start)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise  # else: this file system cannot reserve


@contextmanager
def naming_a_full_disk(path: Path, more_bytes: int) -> Iterator[None]:
    """Say which file found the disk full, and what would help.

    Args:
        path: The file that the block writes.
        more_bytes: How much the block adds to it.

    Raises:
        OSError: The block's own ENOSPC or EDQUOT, in words; other errors pass unchanged.
    """
    # Before the block, which may use up what is left and still fail.
    free = shutil.disk_usage(path.parent).free
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise OSError(
            error.errno,
            f"no space left on the disk (or in your quota): the file needs {more_bytes:,} more "
            f"bytes, {free:,} are free on its disk; make room or choose an output folder elsewhere",
            str(path),
        ) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes the name `path` when the block ends well.

    The temporary folder is a hidden sibling, `.NAME.XXXXXXXX`. It is removed when the block
    raises. When the process is killed it stays behind, ignored by every reader, until the next
    folder of this name is made (on POSIX systems; elsewhere it stays).

    Args:
        path: The folder to make; must not exist.

    Yields:
        The temporary folder to write into.

    Raises:
        FileExistsError: `path` exists, before the block or after it.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already: choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_behind(path)
    temporary, lock = _make_held(path)
    try:
        yield temporary
        for file in temporary.rglob("*"):
            fsync_path(file)
        fsync_path(temporary)
        try:
            temporary.rename(path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(f"{path} was made by another process meanwhile") from error
            raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)
    fsync_path(path.parent)


def _make_held(path: Path) -> tuple[Path, int | None]:
    """Make the temporary folder for `path`, and hold it as long as this process lives."""
    while True:
        temporary = temporary_sibling(path)
        temporary.mkdir()
        try:
            lock = _hold(temporary)
        except FileNotFoundError:
            continue
        if temporary.exists():
            return temporary, lock
        # Another process took it for one left behind, in the moment before it was held.
        if lock is not None:
            os.close(lock)


def _remove_left_behind(path: Path) -> None:
    """Remove the temporary folders for `path` that no living process holds."""
    digits = set(string.hexdigits)
    for folder in path.parent.iterdir():
        name, _, suffix = folder.name.rpartition(".")
        if name != f".{path.name}" or len(suffix) != 8 or not set(suffix) <= digits:
            continue
        try:
            lock = _hold(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _hold(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed; None where it is locked or cannot be."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another process, or a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def temporary_sibling(path: Path) -> Path:
    """Return a hidden name beside `path`, `.NAME.XXXXXXXX`, that nothing else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
