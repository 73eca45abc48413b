"""Standard input where a file is asked for."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from bpe_tok.special import SpecialChoice
from bpe_tok.tokenizer import Tokenizer

STDIN = "-"
"""What names standard input on the command line."""

_PATH = "/dev/stdin"
_PIECE_BYTES = 1 << 16


def _has_path() -> bool:
    """Tell whether standard input can be opened again by a path, as pipes and files can."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    is_open = stat.S_ISFIFO(mode) or stat.S_ISREG(mode)
    return is_open and sys.stdin.fileno() == 0 and Path(_PATH).exists()


def ids_of_file(
    tokenizer: Tokenizer, name: str, threads: int | None, allowed_special: SpecialChoice = "all"
) -> Iterator[Sequence[int]]:
    """Encode a file or standard input, of any size, as one text.

    Args:
        tokenizer: what encodes it.
        name: the file, or `STDIN`.
        threads: how many threads to use.
        allowed_special: special tokens to recognise.

    Returns:
        Token ids, some at a time.
    """
    if name != STDIN or _has_path():
        path = _PATH if name == STDIN else name
        return tokenizer.encode_file(path, threads=threads, allowed_special=allowed_special)
    pieces = iter(lambda: sys.stdin.buffer.read(_PIECE_BYTES), b"")
    ids = tokenizer.encode_iterable(pieces, allowed_special=allowed_special)
    return iter(lambda: list(islice(ids, _PIECE_BYTES)), [])


@contextmanager
def as_path() -> Iterator[Path]:
    """Give standard input a path; where it has none it is copied, for it may exceed memory."""
    if _has_path():
        yield Path(_PATH)
        return
    with tempfile.TemporaryDirectory(prefix="bpe-tok-") as folder:
        path = Path(folder, "stdin")
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield path
