"""Special tokens: strings that stand for one token and are never cut."""

import re
from collections.abc import Iterable, Iterator


class SpecialTokens:
    """Finds special tokens in text: the leftmost first, and there the longest.

    Args:
        tokens: distinct non-empty strings; None is as good as none.

    Attributes:
        tokens: the special tokens in the order given.
        max_length: the length of the longest, in characters; 0 if there are none.

    Raises:
        ValueError: if a token is empty, comes twice or has a lone surrogate.
        TypeError: if a token is not a string, or `tokens` is one string.
    """

    def __init__(self, tokens: Iterable[str] | None) -> None:
        if isinstance(tokens, (str, bytes)):
            raise TypeError(f"special_tokens={tokens!r} must be a list of strings, not one string")
        self.tokens = () if tokens is None else tuple(tokens)
        for place, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise TypeError(f"special_tokens[{place}]={token!r} must be a string")
            if not token:
                raise ValueError(f"special_tokens[{place}] must not be empty")
            if token in self.tokens[:place]:
                raise ValueError(f"special_tokens[{place}]={token!r} comes twice")
            check_encodable(token, f"special_tokens[{place}]")
        self.max_length = max(map(len, self.tokens), default=0)
        # An alternation takes its first branch that matches, so longer tokens come first.
        branches = map(re.escape, sorted(self.tokens, key=len, reverse=True))
        self._pattern = re.compile(f"({'|'.join(branches)})") if self.tokens else None

    def split(self, text: str) -> list[str]:
        """Cut a text on its special tokens.

        Args:
            text: any text.

        Returns:
            Ordinary text and special tokens by turns, ordinary text (which may be empty) first
            and last.

        >>> SpecialTokens(["<|a|>", "<|a|><|b|>"]).split("one<|a|><|b|>two<|a|>")
        ['one', '<|a|><|b|>', 'two', '<|a|>', '']
        """
        return self._pattern.split(text) if self._pattern else [text]

    def find_all(self, text: str, start: int = 0) -> Iterator[re.Match[str]]:
        """Find the special tokens from a place on.

        Args:
            text: any text.
            start: index of the first character where a token may start.

        Returns:
            The matches in order; they do not overlap.
        """
        return self._pattern.finditer(text, start) if self._pattern else iter(())


def check_encodable(text: str, name: str, first_index: int = 0) -> None:
    r"""Refuse text that UTF-8 cannot write.

    Args:
        text: any text.
        name: what to call it in the message.
        first_index: the index of its first character, where it is a part of a longer text.

    Raises:
        ValueError: if there is a lone surrogate; the message has its index.

    >>> check_encodable("a\ud800", "text")
    Traceback (most recent call last):
    ValueError: text has a lone surrogate, U+D800, at index 1, which UTF-8 cannot write; ...
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has a lone surrogate, U+{ord(text[error.start]):04X}, at index "
            f"{first_index + error.start}, which UTF-8 cannot write; "
            'text.encode("utf-8", "replace").decode() replaces it'
        ) from None
