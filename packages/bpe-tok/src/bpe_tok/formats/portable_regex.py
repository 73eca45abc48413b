r"""What a regular expression may have in it to mean the same to other engines.

Patterns here are of the `regex` package; Hugging Face has them in Oniguruma's syntax, tiktoken in
fancy-regex's. Where these differ it is not always an error: `$` is the end of any line to
Oniguruma, and `\p{N}{1,3}+` matches any number of digits. So only what is known to be the same is
let through.
"""

import re

_ESCAPE = r"\\(?:[sSdDnrtf]|[pP]\{[A-Za-z_]+\}|x[0-7][0-9A-Fa-f]|u[0-9A-Fa-f]{4}|[^A-Za-z0-9\s])"
_CLASS = rf"\[\^?(?:{_ESCAPE}|(?!--|&&|\|\||~~)[^\\\[\]])+\]"
_ATOM = rf"{_ESCAPE}|{_CLASS}|[^\\\[\](){{}}*+?^$|]"
_REPEAT = r"(?:[*+?][+?]?|\{\d+\}(?![+?])|\{\d+,\d*\}\??(?!\+))"
_GROUP = r"\((?:\?(?:[:=!>]|i:|<[=!])|(?!\?))"
_SHARED = re.compile(rf"{_GROUP}|\||(?:{_ATOM}|\)){_REPEAT}?")


def unportable(pattern: str) -> str | None:
    r"""Find what other engines may read in another way.

    Args:
        pattern: a regular expression.

    Returns:
        The pattern from that place on, or None if there is nothing.

    >>> unportable(r" ?\p{L}+|\s+(?!\S)|\s")
    >>> unportable(r"\p{N}{1,3}+|\s+$")
    '{1,3}+|\\s+$'
    """
    place = len("(?i)") if pattern.startswith("(?i)") else 0
    while place < len(pattern):
        match = _SHARED.match(pattern, place)
        if match is None:
            return pattern[place:]
        place = match.end()
    return None
