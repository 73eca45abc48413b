"""What is at a URL, by fsspec, and in words why it cannot be had."""

from pathlib import PurePosixPath
from typing import Any, cast
from urllib.parse import urlsplit

_EXTRAS = {"gcs": "gcs", "gs": "gcs", "hf": "hf", "http": "http", "https": "http", "s3": "s3"}
_GONE_STATUSES = (404, 410)


def is_http(url: str) -> bool:
    """Tell whether a web server has what is at a URL."""
    return url.startswith(("http://", "https://"))


def find_filesystem(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path there.

    Raises:
        ValueError: A package that it needs is not installed, or there is no such file system.
    """
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


def find_info(filesystem: Any, path: str, url: str) -> dict[str, Any]:
    """Return what a file system says of a path: `type`, `size`, and marks of its own.

    Args:
        filesystem: fsspec's.
        path: The path there.
        url: Its URL, for messages.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: The server cannot be reached, or does not let us in.
    """
    try:
        return cast(dict[str, Any], filesystem.info(path))
    except Exception as error:  # each file system has errors of its own
        reason: BaseException = error
        if isinstance(error, FileNotFoundError):
            # fsspec makes the same of a web server that cannot be reached.
            reason = (is_http(url) and error.__cause__) or error
            if reason is error or getattr(reason, "status", None) in _GONE_STATUSES:
                raise FileNotFoundError(f"nothing is at {url}") from None
        raise OSError(f"{url} cannot be reached: {in_words(reason)}") from error


def refuse_page(url: str, info: dict[str, Any], *, is_format_given: bool) -> None:
    """Raise ValueError if a web server has a page at a URL, such as the listing of a folder.

    Args:
        url: The URL.
        info: What the server says of it.
        is_format_given: Whether the user said what it is.
    """
    is_page = info.get("mimetype") == "text/html" and not PurePosixPath(urlsplit(url).path).suffix
    # Where the URL leads: servers answer for a folder from its name with a slash.
    is_folder = urlsplit(info.get("url", url)).path[-1:] in ("", "/")
    if is_folder or (is_page and not is_format_given):
        raise ValueError(
            f"{url} is a web page or the listing of a folder: name the files in it, or a pattern "
            f"such as {url.rstrip('/')}/*.txt"
        )


def in_words(error: BaseException) -> str:
    """Return an error's message as one line, or its name if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
