"""Cutting text into pretokens: the words, numbers, marks and spaces that no token crosses."""

import re
from collections.abc import Iterator

from bpe_tok._pure.character_classes import (
    CASELESS,
    LONG_S,
    LOWER,
    MARK,
    NUMBER,
    SPACE,
    UPPER,
    classes_of,
)

BLOCK_CHARS = 1 << 14
"""Text is worked on in blocks of about this length, to bound memory."""

# Sets of characters, as they stand within [ ].
_LETTERS = rf"A-Za-z{CASELESS}-{LONG_S}"
_NUMBERS = rf"0-9{NUMBER}"
_SPACES = rf"\t-\r {SPACE}"
_MAYBE_UPPER = rf"A-Z{CASELESS}{UPPER}{MARK}"
_MAYBE_LOWER = rf"a-z{CASELESS}{LOWER}{LONG_S}{MARK}"

_SPACE_BEFORE_SPACE = rf"[{_SPACES}]+(?![^{_SPACES}])"
_CONTRACTION = rf"'(?:[sSdDmMtT{LONG_S}]|[lL][lL]|[vV][eE]|[rR][eE])"


def _later_pattern(words: str, numbers: str, after_others: str, first_spaces: str = "") -> str:
    """The scheme of all patterns since cl100k."""
    return (
        rf"{words}|{numbers}| ?[^{_SPACES}{_LETTERS}{_NUMBERS}]+[{after_others}]*"
        rf"|{first_spaces}[{_SPACES}]*[\r\n]|{_SPACE_BEFORE_SPACE}|[{_SPACES}]"
    )


# The published patterns are in `bpe_tok.pretokenize`. Here the commonest alternative comes first
# where it can: only alternatives that start differently changed places.
_PREFIX = rf"[^\r\n{_LETTERS}{_NUMBERS}]?"
_CL100K_WORDS = rf" ?[{_LETTERS}]+|{_CONTRACTION}|{_PREFIX}[{_LETTERS}]+"
_O200K_WORDS = (
    rf"{_PREFIX}[{_MAYBE_UPPER}]*[{_MAYBE_LOWER}]+(?:{_CONTRACTION})?"
    rf"|{_PREFIX}[{_MAYBE_UPPER}]+[{_MAYBE_LOWER}]*(?:{_CONTRACTION})?"
)
_UP_TO_THREE = f"[{_NUMBERS}]{{1,3}}"
_PATTERNS = {
    "gpt2": (
        rf" ?[{_LETTERS}]+|'(?:[sdmt]|ll|ve|re)| ?[^{_SPACES}{_LETTERS}{_NUMBERS}]+"
        rf"| ?[{_NUMBERS}]+|{_SPACE_BEFORE_SPACE}|[{_SPACES}]"
    ),
    "cl100k": _later_pattern(_CL100K_WORDS, _UP_TO_THREE, r"\r\n", rf"[{_SPACES}]+\Z|"),
    "llama3": _later_pattern(_CL100K_WORDS, _UP_TO_THREE, r"\r\n"),
    "qwen2": _later_pattern(_CL100K_WORDS, f"[{_NUMBERS}]", r"\r\n"),
    "o200k": _later_pattern(_O200K_WORDS, _UP_TO_THREE, r"\r\n/"),
}

# Places where a pretoken ends whatever comes before and after, and whether or not the text ends
# there: where no alternative goes on from the character before to the one after, and no look-ahead
# sees further.
_NUMBER_ENDS = rf"(?<=[{_NUMBERS}])(?=[^{_NUMBERS}])"
_LETTERS_END = rf"(?<=[{_LETTERS}])(?=[^{_LETTERS}])"
_OTHERS_END = rf"(?<=[^{_SPACES}{_LETTERS}{_NUMBERS}])(?=[\t\v\f {SPACE}])"
_GPT2_CUTS = rf"{_LETTERS_END}|{_NUMBER_ENDS}|(?<=[^{_SPACES}])(?=[{_SPACES}])"
_CL100K_CUTS = rf"{_LETTERS_END}|{_NUMBER_ENDS}|{_OTHERS_END}|(?<=[\r\n])(?=[^{_SPACES}])"
_O200K_CUTS = (
    rf"(?<=[{_LETTERS}])(?=[^{_LETTERS}{MARK}'])|{_NUMBER_ENDS}|{_OTHERS_END}"
    rf"|(?<=[\r\n])(?=[^{_SPACES}/])"
)
_CUTS = {
    "gpt2": _GPT2_CUTS,
    "cl100k": _CL100K_CUTS,
    "llama3": _CL100K_CUTS,
    "qwen2": _CL100K_CUTS,
    "o200k": _O200K_CUTS,
}


class Pretokenizer:
    r"""Cuts text into pretokens by one of the named patterns.

    Args:
        pattern: "gpt2", "cl100k", "llama3", "qwen2" or "o200k".

    >>> Pretokenizer("gpt2").split("We'll see:  24 of\n them")
    ['We', "'ll", ' see', ':', ' ', ' 24', ' of', '\n', ' them']
    >>> Pretokenizer("o200k").split("HTTPServer's 2024")
    ["HTTPServer's", ' ', '202', '4']
    """

    def __init__(self, pattern: str) -> None:
        if pattern not in _PATTERNS:
            raise ValueError(f"no pattern is named {pattern}")
        self._find = re.compile(_PATTERNS[pattern]).findall
        self._cut = re.compile(_CUTS[pattern])
        # What comes first takes all it can, and gives back as little as it must.
        self._last_cut = re.compile(rf"(?s:.*)(?:{_CUTS[pattern]})")

    def split(self, text: str) -> list[str]:
        """Cut a text into its pretokens; joined they are the text.

        Args:
            text: any text without special tokens.
        """
        if text.isascii():
            return self._find(text)
        pieces = []
        start = 0
        for stand_ins in self._find(classes_of(text)):
            end = start + len(stand_ins)
            pieces.append(text[start:end])
            start = end
        return pieces

    def split_blocks(self, text: str, block_chars: int = BLOCK_CHARS) -> Iterator[list[str]]:
        """Cut a text into its pretokens, a block at a time.

        Args:
            text: any text without special tokens.
            block_chars: the length of a block, in characters; a longer pretoken is not cut.

        Yields:
            The pretokens of successive blocks.
        """
        start = 0
        while len(text) - start > block_chars:
            end = self._first_cut(text, start + block_chars)
            yield self.split(text[start:end])
            start = end
        if start < len(text):
            yield self.split(text[start:] if start else text)

    def _first_cut(self, text: str, start: int, window_chars: int = 256) -> int:
        """Return the first safe place after `start`, or the end of the text."""
        while start < len(text):
            end = start + window_chars
            if cut := self._cut.search(classes_of(text[start:end])):
                return start + cut.start()
            # The last character is seen again, with the one after it.
            start = end - 1 if end < len(text) else end
        return len(text)

    def last_cut(self, text: str) -> int:
        """Return the last safe place within a text, or 0 if there is none.

        A place is safe if the pretokens before it and after it are the same whether the text is
        cut there or not, and whatever comes before and after the text.

        >>> Pretokenizer("gpt2").last_cut("two words, one")
        10
        """
        cut = self._last_cut.match(classes_of(text))
        return cut.end() if cut else 0
