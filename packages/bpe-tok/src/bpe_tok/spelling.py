"""GPT-2's spelling: bytes written as printable characters, in most files that hold tokens."""

import codecs
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

from bpe_tok.pretokenize import PATTERNS, pretokenize


def _byte_spelling() -> str:
    """GPT-2's table: a printable character for each byte, the byte's own where it has one."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return "".join(chr(byte if byte in printable else next(others)) for byte in range(256))


SPELLING = _byte_spelling()
"""The character that stands for each of the 256 bytes."""

# CPython translates far faster by such a map than by a dict, but only if its first entry is U+0000;
# so that character takes the place of the byte 0's own.
_ZERO = SPELLING[0]
_ENCODING_MAP = codecs.charmap_build("\0" + SPELLING[1:])


def spell(token: bytes) -> str:
    r"""Write bytes as printable characters.

    >>> spell(b" the\n")
    'ĠtheĊ'
    """
    return codecs.charmap_decode(token, "strict", SPELLING)[0]


def unspell(spelling: str) -> bytes:
    """Undo `spell`.

    Raises:
        ValueError: if a character stands for no byte.

    >>> unspell("Ġthe")
    b' the'
    """
    place = spelling.find("\0")
    if place < 0:
        try:
            return codecs.charmap_encode(spelling.replace(_ZERO, "\0"), "strict", _ENCODING_MAP)[0]
        except UnicodeEncodeError as error:
            place = error.start
    raise ValueError(
        f"{spelling!r} is not in GPT-2's spelling: {spelling[place]!r} stands for no byte"
    )


def spell_all(tokens: Sequence[bytes]) -> list[str]:
    """Do what `spell` does to many tokens at once, which is faster.

    >>> spell_all([b" the", b"", b"y"])
    ['Ġthe', '', 'y']
    """
    spelled = spell(b"".join(tokens))
    ends = accumulate(map(len, tokens), initial=0)
    return [spelled[start:end] for start, end in pairwise(ends)]


def unspell_all(spellings: Sequence[str]) -> list[bytes]:
    """Undo `spell_all`.

    Raises:
        ValueError: if a character stands for no byte.

    >>> unspell_all(["Ġthe", "", "y"])
    [b' the', b'', b'y']
    """
    # Byte 0 lends its place in the map to the separator. It is in few tokens, mostly one.
    rest = list(spellings)
    apart = [rest.index(_ZERO)] if _ZERO in rest else []
    if apart:
        rest[apart[0]] = ""
    text = "\0".join(rest)
    if _ZERO in text:
        apart += (more := [place for place, spelling in enumerate(rest) if _ZERO in spelling])
        for place in more:
            rest[place] = ""
        text = "\0".join(rest)
    try:
        tokens = codecs.charmap_encode(text, "strict", _ENCODING_MAP)[0].split(b"\0")
    except UnicodeEncodeError:
        tokens = []
    if len(tokens) != len(rest):  # a spelling has a wrong character, or there are none
        return [unspell(spelling) for spelling in spellings]
    for place in apart:
        tokens[place] = unspell(spellings[place])
    return tokens


def check_spelling(special_tokens: Iterable[str]) -> None:
    """Refuse special tokens that in a file are the spelling of what merges can make.

    Such are "é" and "Ġt", the spellings of the byte 0xE9 and of " t", but not "été", whose bytes
    as a spelling, E9 74 E9, are in no UTF-8 text, nor "początek", whose bytes are in no pretoken
    of a published pattern.

    Args:
        special_tokens: strings that are to be one token each.

    Raises:
        ValueError: if there is one; the message has a way out.
    """
    for token in special_tokens:
        try:
            value = unspell(token)
        except ValueError:
            continue
        if value != token.encode() and _within_a_pretoken(value):
            raise ValueError(
                f"special token {token!r} must not be the spelling of {value!r} in a tokenizer's "
                "files, which could not tell them apart; use one in ASCII, such as '<|name|>'"
            )


def _within_a_pretoken(value: bytes) -> bool:
    """Tell whether there is a text that has these bytes within one pretoken."""
    if len(value) == 1:
        return True
    # The first character may have lost its first bytes, and the last one its last.
    whole_from_start = value.lstrip(bytes(range(0x80, 0xC0)))
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(whole_from_start)
    except UnicodeDecodeError:
        return False
    return any(len(pretokenize(text, pattern)) <= 1 for pattern in PATTERNS)
