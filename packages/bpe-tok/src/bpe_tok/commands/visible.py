"""Tokens as people can see them: bytes of half a character and control characters too."""

_NAMED = {"\n": "⏎", "\t": "⇥", "\r": "␍"}


def visible(token: bytes) -> str:
    r"""Write a token in printable characters; spaces stay as they are.

    >>> visible(b" the\n"), visible("é".encode()[:1]), visible(b"\x1b[0m")
    (' the⏎', '\\xc3', '\\x1b[0m')
    """
    text = token.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _NAMED.get(character) or _escape(character)
        for character in text
    )


def _escape(character: str) -> str:
    # Spaces of other widths, joiners and marks of direction are among what is not printable.
    return character.encode("unicode_escape").decode()
