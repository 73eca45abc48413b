"""Patterns that no engine knows: the `regex` package cuts the text, an engine does the rest."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from bpe_tok import _engine
from bpe_tok._pure.special_finder import SpecialFinder
from bpe_tok._pure.text_input import checked_text
from bpe_tok.packed_ids import TYPECODES


class RegexSplitter:
    """Cuts text by a regular expression.

    What the expression leaves out between its matches is a pretoken too, so that no text is lost
    (Hugging Face calls this "isolated").

    Args:
        pattern: a regular expression of the `regex` package.

    Raises:
        ValueError: if it is none.

    >>> RegexSplitter("[aeiou]+").split("beauty")
    ['b', 'eau', 'ty']
    """

    def __init__(self, pattern: str) -> None:
        import regex  # type: ignore[import-untyped]  # its import takes as long as all else here

        try:
            self._regex: Any = regex.compile(pattern)
        except regex.error as error:
            raise ValueError(
                f"pattern={pattern!r} is neither the name of a pattern nor a regular expression: "
                f"{error}"
            ) from None
        if self._regex.flags & regex.REVERSE:
            raise ValueError(f"pattern={pattern!r} must search forwards: leave out (?r)")

    def split(self, text: str) -> list[str]:
        """Cut a text without special tokens into pretokens; joined they are the text."""
        pieces = []
        done = 0
        for match in self._regex.finditer(text):
            start, end = match.span()
            if start > done:
                pieces.append(text[done:start])
            if end > start:
                pieces.append(text[start:end])
            done = end
        if done < len(text):
            pieces.append(text[done:])
        return pieces


class RegexEncoder:
    """An engine's `Encoder` with a pattern of the user's; see `bpe_tok._pure.Encoder`.

    Args:
        tokens: the bytes of each id.
        merges: the ids of left part, right part and whole of each merge.
        ignore_merges: whether a pretoken that is a token is that token.
        pattern: a regular expression of the `regex` package.
        specials: UTF-8 and id of each special token.

    Raises:
        ValueError: if `pattern` is not a regular expression.
    """

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        merges: tuple[Sequence[int], Sequence[int], Sequence[int]] | None,
        ignore_merges: bool,
        pattern: str,
        specials: Sequence[tuple[bytes, int]],
    ) -> None:
        self._splitter = RegexSplitter(pattern)
        self._finder = SpecialFinder([token.decode() for token, _ in specials])
        self._special_ids = [token_id for _, token_id in specials]
        # The engine's own pattern has no say in `encode_pieces`.
        encoder = _engine.implementation.Encoder(tokens, merges, ignore_merges, "gpt2", specials)
        self.encode_pieces = encoder.encode_pieces
        self.find_special = encoder.find_special
        self.decode = encoder.decode

    def _encode_parts(self, text: str | bytes, allowed: bytes | None) -> Iterator[list[int]]:
        for ordinary, special in self._finder.split(checked_text(text), allowed):
            yield self.encode_pieces(self._splitter.split(ordinary))
            if special is not None:
                yield [self._special_ids[special]]

    def encode(self, text: str | bytes, allowed: bytes | None) -> list[int]:
        """Turn a text into token ids."""
        return list(chain.from_iterable(self._encode_parts(text, allowed)))

    def encode_packed(self, text: str | bytes, allowed: bytes | None, width: int) -> bytearray:
        """Turn a text into token ids of 2 or 4 bytes each."""
        return bytearray(array(TYPECODES[width], self.encode(text, allowed)))

    def encode_batch(self, texts: Iterable[str | bytes], allowed: bytes | None) -> list[list[int]]:
        """Turn each of several texts into token ids."""
        return [self.encode(text, allowed) for text in texts]

    def count(self, text: str | bytes, allowed: bytes | None) -> int:
        """Return how many token ids a text has."""
        return sum(map(len, self._encode_parts(text, allowed)))


class RegexCounter:
    """Counts pretokens of a user's pattern, in an engine's `PretokenCounter`.

    Args:
        pattern: a regular expression of the `regex` package.
        specials: UTF-8 of each special token.
    """

    def __init__(self, pattern: str, specials: Sequence[bytes]) -> None:
        self._splitter = RegexSplitter(pattern)
        self._finder = SpecialFinder([token.decode() for token in specials])
        self.counter = _engine.implementation.PretokenCounter("gpt2", specials)

    def add(self, text: str | bytes) -> None:
        """Count the pretokens of a text."""
        for ordinary, _ in self._finder.split(checked_text(text), None):
            self.counter.add_pieces(self._splitter.split(ordinary))
