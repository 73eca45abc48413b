"""tiktoken's files, of a token in base64 and its id a line, and its Encoding objects."""

import hashlib
import os
from base64 import b64decode
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Mapping
from itertools import count, pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from bpe_tok.atomic_write import write_text
from bpe_tok.formats.json_file import brief
from bpe_tok.formats.parts import Parts
from bpe_tok.formats.tiktoken_rule import merges_of_rule, why_not_rule
from bpe_tok.pretokenize import PATTERNS
from bpe_tok.special import SpecialTokens
from bpe_tok.spelling import check_spelling
from bpe_tok.vocab import check_bytes, check_ids

if TYPE_CHECKING:
    import tiktoken

_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
_PUBLISHED = {
    "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930": (
        "gpt2",
        {"<|endoftext|>": 50256},
    ),
    "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069": (
        "gpt2",
        {"<|endoftext|>": 50256},
    ),
    "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7": (
        "cl100k",
        {"<|endoftext|>": 100257, **_FIM, "<|endofprompt|>": 100276},
    ),
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d": (
        "o200k",
        {"<|endoftext|>": 199999, "<|endofprompt|>": 200018},
    ),
}
"""By SHA-256, what OpenAI's files r50k_base, p50k_base, cl100k_base and o200k_base do not say."""


def read_tiktoken(
    path: str | os.PathLike[str],
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | Iterable[str] | None = None,
) -> Parts:
    """Read a `.tiktoken` file.

    Args:
        path: the file.
        pattern: the pattern, which the file does not name; needed for all but OpenAI's own files.
        special_tokens: the id of each special token, which the file does not have; or their
            names, which get the next ids. None: none, or those of OpenAI's own file.

    Returns:
        All that makes the tokenizer.

    Raises:
        ValueError: if the file is damaged; the message has the file and the place.
    """
    name = os.fspath(path)
    data = Path(path).read_bytes()
    known_pattern, known_specials = _PUBLISHED.get(hashlib.sha256(data).hexdigest(), (None, {}))
    if pattern is None:
        pattern = known_pattern
    if pattern is None:
        raise ValueError(
            f"{name}: such a file does not say which pattern cuts the text: give a pattern, one of "
            f"{', '.join(PATTERNS)} or a regular expression, and the special tokens with their ids"
        )
    ranks = _parse(data, name)
    return _to_parts(
        ranks,
        pattern,
        known_specials if special_tokens is None else special_tokens,
        name,
    )


def _parse(data: bytes, name: str) -> dict[bytes, int]:
    """Read lines of a token in base64 and its rank."""
    fields = data.split()
    try:
        tokens = list(map(a2b_base64, fields[0::2]))
        ids = list(map(int, fields[1::2]))
        ranks = dict(zip(tokens, ids, strict=True))
    except ValueError:
        ranks = {}
    # To write them again is much quicker than to check them line by line.
    if not ranks or len(ranks) < len(tokens) or _lines(ranks) != data.rstrip(b"\n") + b"\n":
        ranks = _parse_lines(data, name)
    if b"" in ranks:
        raise ValueError(f"{name}: id {ranks[b'']} is an empty token")
    check_bytes(ranks, name)
    check_ids(ranks.values(), name)
    if len(set(ranks.values())) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, token_id in ranks.items():
            if seen.setdefault(token_id, token) != token:
                raise ValueError(f"{name}: id {token_id} is both {seen[token_id]!r} and {token!r}")
    return ranks


def _parse_lines(data: bytes, name: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        where = f"{name}, line {number}"
        try:
            encoded, rank = fields
            token = b64decode(encoded, validate=True)
            token_id = int(rank)
        except ValueError:
            raise ValueError(
                f"{where}: {brief(line)} must be a token in base64, a space and its rank"
            ) from None
        if ranks.setdefault(token, token_id) != token_id:
            raise ValueError(f"{where}: {token!r} comes twice, as {ranks[token]} and {token_id}")
    return ranks


def _lines(ranks: Mapping[bytes, int]) -> bytes:
    return b"".join(
        b"%b %d\n" % (b2a_base64(token, newline=False), rank) for token, rank in ranks.items()
    )


def _to_parts(
    ranks: Mapping[bytes, int],
    pattern: str,
    special_tokens: Mapping[str, int] | Iterable[str],
    name: str,
) -> Parts:
    specials = _special_ids(ranks, special_tokens, name)
    tokens: list[bytes | None] = [None] * (max(*ranks.values(), *specials.values()) + 1)
    for token, token_id in ranks.items():
        tokens[token_id] = token
    ordinary = False
    for special, token_id in specials.items():
        value = special.encode()
        if tokens[token_id] not in (None, value) or ranks.get(value, token_id) != token_id:
            taken = tokens[token_id] or value
            raise ValueError(
                f"{name}: special token {special!r} must not have id {token_id}: {taken!r} has id "
                f"{ranks[taken]}"
            )
        tokens[token_id] = value
        ordinary |= value in ranks and len(value) > 1
    parts = Parts(tokens, None, dict(sorted(specials.items(), key=itemgetter(1))), pattern)
    if ordinary:
        # The rule leaves special tokens out, so one that is an ordinary token too needs merges.
        merges = merges_of_rule(parts._replace(special_tokens={}))
        parts = parts._replace(merges=merges, ignore_merges=True)
    return parts


def _special_ids(
    ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int] | Iterable[str],
    name: str,
) -> dict[str, int]:
    names = SpecialTokens(special_tokens).tokens
    check_spelling(names)
    if isinstance(special_tokens, Mapping):
        ids = dict(special_tokens)
        check_ids([*ranks.values(), *ids.values()], f"{name} with special_tokens={brief(ids)}")
        if len(set(ids.values())) < len(ids):
            raise ValueError(f"{name}: two of special_tokens={brief(ids)} have one id")
        return ids
    following = count(max(ranks.values()) + 1)
    return {
        token: next(following) if (known := ranks.get(token.encode())) is None else known
        for token in names
    }


def from_encoding(
    encoding: "tiktoken.Encoding",
    pattern: str | None = None,
    special_tokens: Mapping[str, int] | Iterable[str] | None = None,
) -> Parts:
    """Take a tokenizer from tiktoken.

    Args:
        encoding: tiktoken's object.
        pattern: a pattern to take in place of its own.
        special_tokens: special tokens to take in place of its own.

    Returns:
        All that makes the tokenizer.

    Raises:
        TypeError: if it is no such object.
        ValueError: if it holds no tokenizer of bytes.
    """
    try:
        ranks, regex = encoding._mergeable_ranks, encoding._pat_str
        own_specials = encoding._special_tokens
    except AttributeError:
        raise TypeError(
            f"source={brief(encoding)} must be the path of a .tiktoken file or a tiktoken.Encoding"
        ) from None
    name = f"encoding {encoding.name!r}"
    check_bytes(ranks, name)
    _check_prefixes(own_specials if special_tokens is None else special_tokens, name)
    return _to_parts(
        ranks,
        _without_rest(regex) if pattern is None else pattern,
        own_specials if special_tokens is None else special_tokens,
        name,
    )


def to_encoding(parts: Parts, name: str) -> "tiktoken.Encoding":
    """Make a tokenizer of tiktoken's.

    Args:
        parts: all that makes the tokenizer.
        name: the name that it is to have.

    Returns:
        tiktoken's object, which gives the same ids.

    Raises:
        ImportError: if tiktoken is not installed.
        ValueError: if tiktoken's rule would give other ids.
    """
    ranks = _ranks(parts, "a tiktoken Encoding")
    _check_prefixes(parts.special_tokens, "this tokenizer")
    try:
        import tiktoken
    except ImportError as error:
        raise ImportError("to_tiktoken needs tiktoken: pip install tiktoken") from error
    regex = PATTERNS.get(parts.pattern) or _with_rest(parts.pattern)
    return tiktoken.Encoding(
        name, pat_str=regex, mergeable_ranks=ranks, special_tokens=dict(parts.special_tokens)
    )


def _check_prefixes(special_tokens: Iterable[str], name: str) -> None:
    """Refuse special tokens of which tiktoken finds one or the other, in no stated order."""
    for token, longer in pairwise(sorted(special_tokens)):
        if longer.startswith(token):
            raise ValueError(
                f"{name}: special token {token!r} is the start of {longer!r}; where both fit "
                "tiktoken takes either, and this package the longer"
            )


def write_tiktoken(path: str | os.PathLike[str], parts: Parts) -> None:
    """Write a `.tiktoken` file, which holds neither the pattern nor the special tokens.

    Args:
        path: where to.
        parts: all that makes the tokenizer.

    Raises:
        ValueError: if tiktoken's rule would give other ids.
    """
    write_text(Path(path), _lines(_ranks(parts, "a .tiktoken file")).decode())


def _ranks(parts: Parts, name: str) -> dict[bytes, int]:
    reason = why_not_rule(parts)
    if reason is not None:
        raise ValueError(
            f"this tokenizer cannot be written as {name}: {reason}; tokenizer.json holds it"
        )
    special = set(parts.special_tokens.values()).difference(parts.merges[2] if parts.merges else ())
    return {
        token: token_id
        for token_id, token in enumerate(parts.tokens)
        if token is not None and (token_id not in special or len(token) == 1)
    }


# tiktoken forgets what its pattern does not match, so a pattern of one's own gets a last branch
# that matches it.
_REST = r"|(?:(?!%s)[\s\S])+"


def _with_rest(regex: str) -> str:
    return f"{regex}{_REST % regex}"


def _without_rest(regex: str) -> str:
    own = regex[: (len(regex) - len(_REST % "")) // 2]
    return own if own and _with_rest(own) == regex else regex
