"""Finding special tokens in text: the leftmost first, and there the longest."""

import re
from collections.abc import Iterator, Sequence

_MAX_PATTERNS = 64


class SpecialFinder:
    """Finds special tokens, or some of them.

    Args:
        tokens: distinct non-empty strings.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self._index = {token: index for index, token in enumerate(tokens)}
        # An alternation takes its first branch that matches, so longer tokens come first.
        self._longest_first = sorted(tokens, key=len, reverse=True)
        self._patterns: dict[bytes | None, re.Pattern[str] | None] = {}

    def find(self, text: str, allowed: bytes | None) -> tuple[int, int] | None:
        """Find the first special token.

        Args:
            text: any text.
            allowed: a byte for each token, 0 if it is to be passed over; None allows all.

        Returns:
            The token's index, and where it is in the text; None if there is none.
        """
        pattern = self._pattern(allowed)
        match = pattern.search(text) if pattern else None
        return (self._index[match[0]], match.start()) if match else None

    def split(self, text: str, allowed: bytes | None) -> Iterator[tuple[str, int | None]]:
        """Cut a text on its special tokens.

        Args:
            text: any text.
            allowed: a byte for each token, 0 if it is to be passed over; None allows all.

        Yields:
            Ordinary text, which may be empty, and the index of the token after it, which is None
            at the end of the text.

        >>> list(SpecialFinder(["<|a|>", "<|a|><|b|>"]).split("one<|a|><|b|>two", None))
        [('one', 1), ('two', None)]
        """
        start = 0
        pattern = self._pattern(allowed)
        if pattern is not None:
            for match in pattern.finditer(text):
                yield text[start : match.start()], self._index[match[0]]
                start = match.end()
        yield text[start:] if start else text, None

    def _pattern(self, allowed: bytes | None) -> re.Pattern[str] | None:
        if allowed not in self._patterns:
            if len(self._patterns) >= _MAX_PATTERNS:
                self._patterns.clear()
            tokens = [t for t in self._longest_first if allowed is None or allowed[self._index[t]]]
            self._patterns[allowed] = (
                re.compile("|".join(map(re.escape, tokens))) if tokens else None
            )
        return self._patterns.get(allowed)
