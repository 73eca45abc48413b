"""What an engine takes for text: a string, or bytes that need not be UTF-8."""


def checked_text(text: str | bytes) -> str:
    r"""Turn bytes into a string; refuse a string that UTF-8 cannot write.

    A byte that is not a part of UTF-8 becomes a lone surrogate of its own, U+DC80 to U+DCFF, which
    is neither a letter nor a number nor white space.

    Args:
        text: a text.

    Returns:
        The text, of which `text_bytes` makes the bytes again.

    Raises:
        UnicodeEncodeError: if a string has a lone surrogate.
        TypeError: if it is neither a string nor bytes.

    >>> checked_text(b"caf\xc3\xa9 \xff")
    'café \udcff'
    """
    if isinstance(text, str):
        if not text.isascii():
            text.encode()
        return text
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    raise TypeError(f"text must be str or bytes, not {type(text).__name__}")


def text_bytes(text: str) -> bytes:
    r"""Undo `checked_text`.

    >>> text_bytes("café \udcff")
    b'caf\xc3\xa9 \xff'
    """
    return text.encode("utf-8", "surrogateescape")
