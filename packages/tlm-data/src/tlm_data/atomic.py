"""Files and folders that appear whole or not at all, also after a crash or a full disk."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        with naming_a_full_disk(Path(file.name), size_bytes):
            os.posix_fallocate(file.fileno(), start, size_bytes - start)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise  # else: this file system cannot reserve


@contextmanager
def naming_a_full_disk(path: Path, size_bytes: int) -> Iterator[None]:
    """Say which file found the disk full, and what would help.

    Args:
        path: The file that the block writes.
        size_bytes: The length that it is to have.

    Raises:
        OSError: The block's own ENOSPC or EDQUOT, in words; other errors pass unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        free = shutil.disk_usage(path.parent).free
        raise OSError(
            error.errno,
            f"no space left on the disk (or in your quota): the file needs {size_bytes:,} bytes, "
            f"{free:,} are free on its disk; make room or choose an output folder elsewhere",
            str(path),
        ) from None


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a folder under a temporary name; it takes the name `path` when the block ends well.

    The temporary folder is a hidden sibling, `.NAME.XXXXXXXX`. It is removed when the block
    raises, and stays behind, ignored by every reader, when the process is killed.

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
    temporary = temporary_sibling(path)
    temporary.mkdir()
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
    fsync_path(path.parent)


def temporary_sibling(path: Path) -> Path:
    """Return a hidden name beside `path`, `.NAME.XXXXXXXX`, that nothing else uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
