"""A line on the terminal that says how far long work has come."""

import sys
import time
from types import TracebackType

_SECONDS_BETWEEN = 0.1


class ProgressLine:
    """One line on standard error that is written over; nothing if that is no terminal.

    Args:
        quiet: whether to show nothing.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._shown = False
        self._next = time.monotonic() + _SECONDS_BETWEEN
        self._on = not quiet and sys.stderr.isatty()

    def show(self, text: str) -> None:
        """Show a text, if the last one has been there for a while."""
        if self._on and (now := time.monotonic()) >= self._next:
            self._next = now + _SECONDS_BETWEEN
            self._shown = True
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def bytes_text(count: int) -> str:
    """Write a number of bytes for people.

    >>> bytes_text(999), bytes_text(20_480_000)
    ('999 bytes', '20.5 MB')
    """
    if count < 1000:
        return f"{count} bytes"
    size = float(count)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.95:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
