"""GPT-2's spelling: bytes written as printable characters, in all the files that hold tokens."""

import codecs
from collections.abc import Collection, Iterable, Mapping

from bpe_tok.pretokenize import pretokenize
from bpe_tok.special import check_encodable


def _byte_spelling() -> dict[int, str]:
    """GPT-2's table: a printable character for each byte, the byte's own where it has one."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}


_SPELLING = _byte_spelling()
_BYTE = {character: byte for byte, character in _SPELLING.items()}


def spell(token: bytes) -> str:
    r"""Write bytes as printable characters.

    >>> spell(b" the\n")
    'ĠtheĊ'
    """
    return token.decode("latin-1").translate(_SPELLING)


def unspell(spelling: str) -> bytes:
    """Undo `spell`.

    Raises:
        ValueError: if a character stands for no byte.

    >>> unspell("Ġthe")
    b' the'
    """
    try:
        return bytes([_BYTE[character] for character in spelling])
    except KeyError as error:
        raise ValueError(
            f"{spelling!r} is not in GPT-2's spelling: {error.args[0]!r} stands for no byte"
        ) from None


def check_spelling(special_tokens: Iterable[str]) -> None:
    """Refuse special tokens that in a file are the spelling of what merges can make.

    Such are "é" and "Ġt", the spellings of the byte 0xE9 and of " t", but not "été", whose bytes
    as a spelling, E9 74 E9, are in no UTF-8 text.

    Args:
        special_tokens: strings that are to be one token each.

    Raises:
        ValueError: if there is one; the message has a way out.
    """
    for token in special_tokens:
        try:
            value = unspell(token)
        except ValueError:
            continue
        if value != token.encode() and _within_a_pretoken(value):
            raise ValueError(
                f"special token {token!r} must not be the spelling of {value!r} in a tokenizer's "
                "files, which could not tell them apart; use one in ASCII, such as '<|name|>'"
            )


def _within_a_pretoken(value: bytes) -> bool:
    """Tell whether there is a text that has these bytes within one pretoken."""
    if len(value) == 1:
        return True
    # The first character may have lost its first bytes, and the last one its last.
    whole_from_start = value.lstrip(bytes(range(0x80, 0xC0)))
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(whole_from_start)
    except UnicodeDecodeError:
        return False
    return len(pretokenize(text)) <= 1


def spell_vocab(
    vocab: Mapping[int, bytes],
    merges: Iterable[tuple[bytes, bytes]],
    special_tokens: Mapping[str, int],
) -> dict[str, int]:
    """Turn a vocab into what the files have: special tokens as they are, all others spelled.

    A special token that merges make too is there in both ways, with one id.

    Args:
        vocab: the bytes of each id.
        merges: pairs of tokens.
        special_tokens: the id of each special token.

    Returns:
        The id of each token, in the order of the ids.

    Raises:
        ValueError: if a special token looks like the spelling of another token.
    """
    ordinary = _ordinary_tokens(merges)
    special_ids = set(special_tokens.values())
    ids = {
        spell(token): token_id
        for token_id, token in vocab.items()
        if token_id not in special_ids or token in ordinary
    }
    for token, token_id in special_tokens.items():
        if ids.setdefault(token, token_id) != token_id:
            raise ValueError(
                f"special token {token!r} cannot be written: in the file's spelling it is also "
                f"the token {vocab[ids[token]]!r}"
            )
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def unspell_vocab(
    ids: Mapping[str, int],
    merges: Iterable[tuple[bytes, bytes]],
    special_tokens: Collection[str],
    specials_name: str = "special_tokens",
) -> dict[int, bytes]:
    """Undo `spell_vocab`.

    Args:
        ids: the id of each token.
        merges: pairs of tokens.
        special_tokens: the tokens that are there as they are.
        specials_name: where the special tokens are named, for a message.

    Returns:
        The bytes of each id.

    Raises:
        ValueError: if a token is not in GPT-2's spelling, or two have one id.
    """
    ordinary = {spell(token) for token in _ordinary_tokens(merges)} if special_tokens else set()
    vocab: dict[int, bytes] = {}
    for spelling, token_id in ids.items():
        if spelling in special_tokens and spelling not in ordinary:
            check_encodable(spelling, "special token")
            token = spelling.encode()
        else:
            try:
                token = unspell(spelling)
            except ValueError as error:
                raise ValueError(
                    f"{error}; if it is a special token, name it in {specials_name}"
                ) from None
        if vocab.setdefault(token_id, token) != token:
            raise ValueError(f"id {token_id} is both {vocab[token_id]!r} and {token!r}")
    return vocab


def _ordinary_tokens(merges: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The tokens that text without special tokens can turn into."""
    return {bytes([byte]) for byte in range(256)} | {left + right for left, right in merges}
