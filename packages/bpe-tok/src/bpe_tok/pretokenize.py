"""The patterns that cut text into pretokens, by name and in the ways they are spelled."""

from functools import cache

from bpe_tok._pure.pretokenizer import Pretokenizer

PATTERNS = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""",
    "cl100k": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"""
        r"""| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
    ),
    "o200k": (
        r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"""
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"""
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)?"""
        r"""|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
    "llama3": (
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"""
        r"""| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
    "qwen2": (
        r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"""
        r"""| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    ),
}
"""The published patterns, each the regular expression of its name: those of GPT-2, of OpenAI's
cl100k_base and o200k_base, of Llama 3 and of Qwen 2. White space that ends a text is one pretoken
in cl100k but not in llama3."""

_NAMES = {
    **{regex: name for name, regex in PATTERNS.items()},
    # As in OpenAI's release of GPT-2.
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""": "gpt2",
    # As in tiktoken, of late and in version 0.5.
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""": "gpt2",
    (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}"""
        r"""| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"""
    ): "llama3",
}


def pattern_name(pattern: str) -> str | None:
    r"""Return the name of a pattern that is one of `PATTERNS`, by its name or its regex.

    >>> pattern_name(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    'gpt2'
    """
    if not isinstance(pattern, str):
        raise TypeError(f"pattern={pattern!r} must be a string, a name or a regular expression")
    return pattern if pattern in PATTERNS else _NAMES.get(pattern)


@cache
def named_pretokenizer(name: str) -> Pretokenizer:
    """Return the pretokenizer of a named pattern."""
    return Pretokenizer(name)


def pretokenize(text: str, pattern: str = "gpt2") -> list[str]:
    r"""Cut a text into pretokens.

    Args:
        text: any text without special tokens.
        pattern: a name in `PATTERNS`.

    Returns:
        The pretokens in order; joined they are the text.

    >>> pretokenize("We'll see:  24 of\n them")
    ['We', "'ll", ' see', ':', ' ', ' 24', ' of', '\n', ' them']
    """
    return named_pretokenizer(pattern).split(text)


def check_pattern(pattern: str) -> None:
    """Refuse what is meant as a name and is none: as a regular expression it would find itself.

    Raises:
        ValueError: if a pattern has only letters, numbers and dashes.
    """
    if pattern.replace("-", "").replace("_", "").isalnum() or not pattern:
        raise ValueError(
            f"pattern={pattern!r} must be {', '.join(PATTERNS)}, or a regular expression"
        )
