"""Where each token lies in the text."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate, pairwise

# What decoding turns into one character: the well-formed sequences of Table 3-7 of the Unicode
# Standard; or the start of one that does not go on, or any other byte, for each of which U+FFFD is
# put.
_CHARACTER = re.compile(
    rb"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]?"
    rb"|(?:\xe0[\xa0-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]|\xed[\x80-\x9f])[\x80-\xbf]?"
    rb"|(?:\xf0[\x90-\xbf]|[\xf1-\xf3][\x80-\xbf]|\xf4[\x80-\x8f])(?:[\x80-\xbf][\x80-\xbf]?)?"
    rb"|[\x80-\xff]"
)


def byte_offsets(tokens: Iterable[bytes]) -> list[tuple[int, int]]:
    """Return where each token starts and ends in the tokens joined, in bytes.

    >>> byte_offsets([b"two", b" words"])
    [(0, 3), (3, 9)]
    """
    return list(pairwise(accumulate(map(len, tokens), initial=0)))


def char_offsets(data: bytes, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    r"""Turn spans of bytes into spans of characters.

    Args:
        data: the bytes of a text.
        spans: where parts of it start and end, in bytes; none is empty.

    Returns:
        Where they start and end in `data.decode("utf-8", "replace")`, in characters. A part that
        has some bytes of a character spans the whole character.

    >>> char_offsets("aé".encode(), [(0, 2), (2, 3)])
    [(0, 2), (1, 2)]
    """
    if data.isascii():
        return list(spans)
    ends = [match.end() for match in _CHARACTER.finditer(data)]
    return [(bisect_right(ends, start), bisect_left(ends, end) + 1) for start, end in spans]
