"""Token ids in files: as text, or as little-endian numbers with nothing between."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from typing import BinaryIO

FORMATS = ("text", "uint16", "uint32")

_TYPECODES = {"uint16": "H", "uint32": "I"}
_PIECE_BYTES = 1 << 20


def choose_format(name: str, vocab_size: int) -> str:
    """Refuse a format that cannot hold all ids.

    Raises:
        ValueError: if uint16 is asked for, and an id may need more.
    """
    if name == "uint16" and vocab_size > 1 << 16:
        raise ValueError(
            f"--format uint16 holds ids up to 65535, and this tokenizer has {vocab_size:,} of "
            "them; use uint32"
        )
    return name


def to_little_endian(ids: Sequence[int], name: str) -> bytes:
    r"""Write ids as bytes.

    >>> to_little_endian([1, 258], "uint32")
    b'\x01\x00\x00\x00\x02\x01\x00\x00'
    """
    typecode = _TYPECODES[name]
    if sys.byteorder == "big" or not isinstance(ids, array) or ids.typecode != typecode:
        ids = array(typecode, ids)
    if sys.byteorder == "big":
        ids.byteswap()
    return ids.tobytes()


def read_numbers(file: BinaryIO, kind: str, name: str) -> Iterator["array[int]"]:
    """Read ids as numbers, some at a time.

    Args:
        file: the open file.
        kind: uint16 or uint32.
        name: the file's name, for messages.

    Raises:
        ValueError: if the file ends within a number.
    """
    typecode = _TYPECODES[kind]
    size = array(typecode).itemsize
    place = 0
    rest = b""
    while data := file.read(_PIECE_BYTES):
        place += len(data)
        data = rest + data
        whole = len(data) // size * size
        rest = data[whole:]
        ids = array(typecode, data[:whole])
        if sys.byteorder == "big":
            ids.byteswap()
        yield ids
    if rest:
        raise ValueError(f"{name}: {place:,} bytes are no whole number of {kind}")


def read_lines(file: BinaryIO, name: str) -> Iterator[list[int]]:
    """Read ids as text, a line at a time: numbers with spaces or commas between.

    Args:
        file: the open file.
        name: the file's name, for messages.

    Raises:
        ValueError: if there is anything else; the message has the line.
    """
    for number, line in enumerate(file, 1):
        words = line.strip().removeprefix(b"[").removesuffix(b"]").replace(b",", b" ").split()
        try:
            yield list(map(int, words))
        except ValueError:
            wrong = next((word for word in words if not word.isdigit()), words[0])
            raise ValueError(
                f"{name}, line {number}: {wrong[:40].decode('utf-8', 'replace')!r} must be a token "
                "id"
            ) from None
