"""Cutting text into pretokens: the words, numbers, marks and spaces that no token crosses."""

import re
from collections.abc import Iterable, Iterator

import regex  # type: ignore[import-untyped]

from bpe_tok.special import SpecialTokens

GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
"""The pattern of GPT-2's tokenizer, as it was published."""

BLOCK_CHARS = 1 << 12
"""Text is worked on in blocks of about this length, to bound memory."""

_find_unicode = regex.compile(GPT2_PATTERN).findall

# On ASCII the standard library's engine finds the same pieces about three times as fast. The
# commonest alternative comes first, and only alternatives that start differently changed places.
_find_ascii = re.compile(
    r""" ?[A-Za-z]+|'(?:[sdmt]|ll|ve|re)| ?[^\sA-Za-z0-9]+| ?[0-9]+|\s+(?!\S)|\s+""", re.ASCII
).findall

# A place where a pretoken ends whatever follows: no alternative of the pattern goes on from a
# letter to anything but a letter, from a number to anything but a number, or from any of the
# non-spaces to a space. After a space there is no such place, for `\s+(?!\S)` looks ahead.
# (?r) searches from the end backwards.
_LAST_CUT = regex.compile(r"(?r)(?<=\p{L})(?=\P{L})|(?<=\p{N})(?=\P{N})|(?<=\S)(?=\s)")


def pretokenize(text: str) -> list[str]:
    r"""Cut a text into pretokens by GPT-2's pattern.

    Args:
        text: any text without special tokens.

    Returns:
        The pretokens in order; joined they are the text.

    >>> pretokenize("We'll see:  24 of\n them")
    ['We', "'ll", ' see', ':', ' ', ' 24', ' of', '\n', ' them']
    """
    return _find_ascii(text) if text.isascii() else _find_unicode(text)


def blocks(text: str, specials: SpecialTokens, block_chars: int = BLOCK_CHARS) -> Iterable[str]:
    """Cut a text into blocks that are pretokenized each on its own, as `stream_blocks` does.

    Args:
        text: any text.
        specials: the tokens that are blocks of their own.
        block_chars: the length of a block, in characters; a longer pretoken is not cut.

    Returns:
        Blocks; joined they are the text.

    >>> list(blocks("one two  three<|end|>", SpecialTokens(["<|end|>"]), 5))
    ['one', ' two', '  three', '<|end|>']
    """
    if len(text) <= block_chars:
        return filter(None, specials.split(text))
    return stream_blocks(even_chunks((text,), block_chars), specials)


def even_chunks(pieces: Iterable[str], chunk_chars: int = BLOCK_CHARS) -> Iterator[str]:
    """Join short pieces of a text and cut long ones.

    Args:
        pieces: the text, in order.
        chunk_chars: a chunk has at least so many characters, the last one excepted, and less than
            twice as many.

    Yields:
        Chunks; joined they are the text.

    >>> list(even_chunks(["one ", "t", "wo", " three four"], 6))
    ['one two', ' three', ' four']
    """
    waiting: list[str] = []
    waiting_chars = 0
    for piece in pieces:
        for start in range(0, len(piece), chunk_chars):
            part = piece[start : start + chunk_chars]
            waiting.append(part)
            waiting_chars += len(part)
            if waiting_chars >= chunk_chars:
                yield "".join(waiting)
                waiting.clear()
                waiting_chars = 0
    if waiting:
        yield "".join(waiting)


def stream_blocks(chunks: Iterable[str], specials: SpecialTokens) -> Iterator[str]:
    """Cut a text that comes in chunks into blocks that are pretokenized each on its own.

    The chunks may end anywhere, within a pretoken or a special token too. No more text is held
    than a chunk, a longest special token and a longest pretoken.

    Args:
        chunks: the text, in order.
        specials: the tokens that are blocks of their own.

    Yields:
        Blocks; joined they are the text. A block is a special token, or has none in it and only
        whole pretokens: its own pretokens are those that it has in the text.

    >>> specials = SpecialTokens(["<|end|>"])
    >>> list(stream_blocks(["a few wo", "rds.<|e", "nd|>more"], specials))
    ['a', ' few', ' words.', '<|end|>', 'more']
    """
    held = ""
    searched = 0
    overlap = max(specials.max_length - 1, 0)
    for chunk in chunks:
        held += chunk
        # A special token that starts from here on may yet turn out to be a longer one.
        settled = max(len(held) - overlap, searched)
        start = 0
        for match in specials.find_all(held, searched):
            if match.start() >= settled:
                break
            if match.start() > start:
                yield held[start : match.start()]
            yield match[0]
            start = match.end()
        end = max(start, settled)
        cut = _LAST_CUT.search(held, max(start, searched - 1), end)
        if cut is not None and cut.start() > start:
            yield held[start : cut.start()]
            start = cut.start()
        held = held[start:]
        searched = end - start
    yield from filter(None, specials.split(held))
