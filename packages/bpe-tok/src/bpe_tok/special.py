"""Special tokens: strings that stand for one token and are never cut, where they are allowed to."""

from collections.abc import Collection, Iterable
from typing import Literal

SpecialChoice = Literal["all"] | Collection[str]
"""Special tokens by name, or all that a tokenizer has."""


class SpecialTokens:
    """The special tokens of a tokenizer, checked.

    Args:
        tokens: distinct non-empty strings; None is as good as none.

    Attributes:
        tokens: the special tokens in the order given.

    Raises:
        ValueError: if a token is empty, comes twice or has a lone surrogate.
        TypeError: if a token is not a string, or `tokens` is one string.
    """

    def __init__(self, tokens: Iterable[str] | None) -> None:
        if isinstance(tokens, (str, bytes)):
            raise TypeError(f"special_tokens={tokens!r} must be a list of strings, not one string")
        self.tokens = () if tokens is None else tuple(tokens)
        seen = set()
        for place, token in enumerate(self.tokens):
            if not isinstance(token, str):
                raise TypeError(f"special_tokens[{place}]={token!r} must be a string")
            if not token:
                raise ValueError(f"special_tokens[{place}] must not be empty")
            if token in seen:
                raise ValueError(f"special_tokens[{place}]={token!r} comes twice")
            check_encodable(token, f"special_tokens[{place}]")
            seen.add(token)

    def flags(
        self, allowed_special: SpecialChoice, disallowed_special: SpecialChoice
    ) -> tuple[bytes | None, bytes | None]:
        r"""Turn a choice of special tokens into what an engine takes, a byte for each token.

        Args:
            allowed_special: the tokens to recognise; the others are ordinary text.
            disallowed_special: the tokens to refuse; "all" is all that are not allowed.

        Returns:
            Flags of the allowed ones, None if all are; and of those to refuse, None if none are.

        Raises:
            ValueError: if a name is not a special token of the tokenizer.
            TypeError: if a choice is one string other than "all", or no collection of strings.

        >>> SpecialTokens(["<|a|>", "<|b|>"]).flags(["<|a|>"], "all")
        (b'\x01\x00', b'\x00\x01')
        """
        if allowed_special == "all" and not disallowed_special:
            return None, None
        allowed = self._chosen(allowed_special, "allowed_special")
        if isinstance(disallowed_special, str) and disallowed_special == "all":
            disallowed = {token for token in self.tokens if token not in allowed}
        else:
            disallowed = self._chosen(disallowed_special, "disallowed_special")
        return (
            bytes(token in allowed for token in self.tokens) if len(allowed) < len(self.tokens)
            else None,
            bytes(token in disallowed for token in self.tokens) if disallowed else None,
        )  # fmt: skip

    def _chosen(self, choice: SpecialChoice, name: str) -> set[str]:
        if isinstance(choice, str) and choice == "all":
            return set(self.tokens)
        if isinstance(choice, (str, bytes)):
            raise TypeError(f'{name}={choice!r} must be "all" or a collection of special tokens')
        chosen = set(choice)
        for token in chosen:
            if token not in self.tokens:
                has = ", ".join(map(repr, self.tokens[:8])) or "none"
                more = f" and {len(self.tokens) - 8} more" if len(self.tokens) > 8 else ""
                raise ValueError(
                    f"{name} has {token!r}, which is not a special token of this tokenizer; "
                    f"it has {has}{more}"
                )
        return chosen


def refusal(token: str, name: str, place: int) -> ValueError:
    """Make the error for a special token that is in a text and was disallowed.

    Args:
        token: the special token.
        name: what to call the text.
        place: where in the text it is.
    """
    return ValueError(
        f"{name} has the special token {token!r} at index {place}, which disallowed_special "
        f"refuses; to encode it as its id, pass allowed_special={{{token!r}, ...}} and leave it "
        "out of disallowed_special; to encode it as ordinary text, leave it out of both: "
        "allowed_special=() and disallowed_special=() do so for all special tokens"
    )


def check_encodable(text: str | bytes, name: str, first_index: int = 0) -> None:
    r"""Refuse text that UTF-8 cannot write.

    Args:
        text: any text; bytes are taken as they are.
        name: what to call it in the message.
        first_index: the index of its first character, where it is a part of a longer text.

    Raises:
        ValueError: if there is a lone surrogate; the message has its index.

    >>> check_encodable("a\ud800", "text")
    Traceback (most recent call last):
    ValueError: text has a lone surrogate, U+D800, at index 1, which UTF-8 cannot write; ...
    """
    if isinstance(text, bytes):
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} has a lone surrogate, U+{ord(text[error.start]):04X}, at index "
            f"{first_index + error.start}, which UTF-8 cannot write; "
            'text.encode("utf-8", "replace").decode() replaces it'
        ) from None
