"""Files and folders that appear whole or not at all, also after a crash or a power cut."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    temporary = _temporary_sibling(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


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
    temporary = _temporary_sibling(path)
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


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
