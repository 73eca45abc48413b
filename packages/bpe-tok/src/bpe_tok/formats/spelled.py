"""A vocab and merges in GPT-2's spelling, as GPT-2's and Hugging Face's files have them."""

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from operator import add, itemgetter
from typing import NamedTuple

from bpe_tok.formats.json_file import expect
from bpe_tok.formats.parts import MergeIds, Parts
from bpe_tok.special import check_encodable
from bpe_tok.spelling import SPELLING, spell, spell_all, unspell, unspell_all
from bpe_tok.vocab import check_ids

Tokens = list[bytes | None]


class SpelledMerges(NamedTuple):
    """Merges in GPT-2's spelling.

    Attributes:
        text: the merges as lines of two tokens with a space between.
        lefts: the left parts.
        rights: the right parts.
    """

    text: str
    lefts: list[str]
    rights: list[str]


def split_merges(text: str) -> SpelledMerges | None:
    r"""Cut lines of two tokens each.

    Args:
        text: the lines, with no line end after the last; or nothing.

    Returns:
        The merges, or None if a line is not two tokens with a space between.

    >>> split_merges("Ġ t\nh e")
    SpelledMerges(text='Ġ t\nh e', lefts=['Ġ', 'h'], rights=['t', 'e'])
    >>> split_merges("Ġ t\nh")
    """
    if not text:
        return SpelledMerges(text, [], [])
    spaced = text.replace("\n", " \n ")
    words = spaced.split(" ")
    lefts, rights, ends = words[0::3], words[1::3], words[2::3]
    fits = len(lefts) == len(rights) == len(ends) + 1
    # If every third word is a line end and these are all, then each line has two words.
    if not fits or not ends.count("\n") == len(ends) == text.count("\n"):
        return None
    if "  " in spaced or spaced[0] == " " or spaced[-1] == " ":
        return None  # a word is empty
    return SpelledMerges(text, lefts, rights)


def read_vocab(
    ids: Mapping[str, int],
    merges: SpelledMerges,
    special_tokens: Collection[str],
    *,
    vocab_name: str,
    specials_name: str,
    merge_name: Callable[[int], str],
) -> tuple[Tokens, MergeIds, dict[str, int]]:
    """Turn what the files have into tokens and merges.

    Args:
        ids: the id of each token: special tokens as they are, all others spelled.
        merges: the merges, spelled.
        special_tokens: the special tokens, of which `ids` may lack some.
        vocab_name: the file and the place of the vocab, for messages.
        specials_name: where the special tokens are named, for messages.
        merge_name: the file and the place of the merge with a certain rank, for messages.

    Returns:
        The tokens by id, the merges, and the id of each special token that `ids` has.

    Raises:
        ValueError: if anything does not fit; the message has the file and the place.
    """
    if set(map(type, ids.values())) - {int}:
        for spelling, token_id in ids.items():
            expect(token_id, int, f"{vocab_name}[{spelling!r}]")
    as_they_are = _specials_as_they_are(ids, merges, special_tokens, vocab_name)
    if as_they_are:
        ids = _spell_specials(ids, as_they_are, vocab_name)
    _check_bytes(ids, vocab_name)
    values = list(ids.values())
    in_order = values == list(range(len(values)))
    try:
        tokens: Tokens = [*unspell_all(list(ids))]
    except ValueError as error:
        raise ValueError(
            f"{vocab_name}: {error}; if it is a special token, name it in {specials_name}"
        ) from None
    if not in_order:
        tokens = _place(tokens, values, vocab_name)
    merge_ids = _merge_ids(ids, merges, in_order, vocab_name, merge_name)
    found = {token: ids[name] for token in special_tokens if (name := spell(token.encode())) in ids}
    return tokens, merge_ids, found


def _specials_as_they_are(
    ids: Mapping[str, int],
    merges: SpelledMerges,
    special_tokens: Collection[str],
    vocab_name: str,
) -> list[str]:
    """Find the special tokens whose key is not the spelling of their bytes."""
    result = []
    for token in special_tokens:
        check_encodable(token, f"{vocab_name}: special token")
        if token in ids and token != spell(token.encode()):
            result.append(token)
    if not result:
        return []
    # What merges make is spelled: there a key such as "Ġt" is the token " t".
    ordinary = {*SPELLING, *map(add, merges.lefts, merges.rights)}
    return [token for token in result if token not in ordinary]


def _spell_specials(
    ids: Mapping[str, int], special_tokens: Collection[str], vocab_name: str
) -> dict[str, int]:
    names = {token: spell(token.encode()) for token in special_tokens}
    for token, name in names.items():
        if ids.get(name, ids[token]) != ids[token]:
            raise ValueError(
                f"{vocab_name} has {token.encode()!r} twice, as ids {ids[token]} and {ids[name]}"
            )
    return {names.get(key, key): token_id for key, token_id in ids.items()}


def _check_bytes(ids: Mapping[str, int], vocab_name: str) -> None:
    lacking = [byte for byte in range(256) if SPELLING[byte] not in ids]
    if lacking:
        raise ValueError(
            f"{vocab_name} lacks {len(lacking)} of the 256 single bytes, first "
            f"{bytes(lacking[:1])!r}, which is spelled {SPELLING[lacking[0]]!r}"
        )
    if "" in ids:
        raise ValueError(f"{vocab_name}: id {ids['']} is an empty token")


def _place(spelled: Tokens, values: list[int], vocab_name: str) -> Tokens:
    """Put each token at its id."""
    check_ids(values, vocab_name)
    tokens: Tokens = [None] * (max(values) + 1)
    for token_id, token in zip(values, spelled, strict=True):
        if tokens[token_id] is not None:
            raise ValueError(
                f"{vocab_name}: id {token_id} is both {tokens[token_id]!r} and {token!r}"
            )
        tokens[token_id] = token
    return tokens


def _merge_ids(
    ids: Mapping[str, int],
    merges: SpelledMerges,
    in_order: bool,
    vocab_name: str,
    merge_name: Callable[[int], str],
) -> MergeIds:
    _, lefts, rights = merges
    try:
        left_ids = list(map(ids.__getitem__, lefts))
        right_ids = list(map(ids.__getitem__, rights))
        wholes = _run_of_ids(ids, merges) if in_order else None
        if wholes is not None:
            return left_ids, right_ids, wholes
        wholes = list(map(ids.__getitem__, map(add, lefts, rights)))
    except KeyError:
        _explain_missing(ids, merges, vocab_name, merge_name)
        raise
    # Merges of distinct wholes are distinct, which is quick to see and mostly so.
    if len(set(wholes)) < len(wholes) and len(set(zip(lefts, rights, strict=True))) < len(wholes):
        _explain_repeated(merges, merge_name)
    return left_ids, right_ids, wholes


def _run_of_ids(ids: Mapping[str, int], merges: SpelledMerges) -> list[int] | None:
    """Find the ids of wholes that stand in the vocab one after the other, as they mostly do.

    To compare one long string is far quicker than to look each of them up.
    """
    if not merges.lefts:
        return []
    first = ids.get(merges.lefts[0] + merges.rights[0], len(ids))
    end = first + len(merges.lefts)
    if "\n".join(islice(ids, first, end)) != merges.text.replace(" ", ""):
        return None
    return list(range(first, end))


def _explain_missing(
    ids: Mapping[str, int],
    merges: SpelledMerges,
    vocab_name: str,
    merge_name: Callable[[int], str],
) -> None:
    for place, (left, right) in enumerate(zip(merges.lefts, merges.rights, strict=True)):
        for part, token in (
            ("left part", left),
            ("right part", right),
            ("result", left + right),
        ):
            if token not in ids:
                try:
                    value = unspell(token)
                except ValueError as error:
                    raise ValueError(f"{merge_name(place)}: {error}") from None
                raise ValueError(
                    f"{merge_name(place)}: {f'{left} {right}'!r}: the {part} {value!r} is not in "
                    f"the vocab, {vocab_name}"
                )


def _explain_repeated(merges: SpelledMerges, merge_name: Callable[[int], str]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for place, pair in enumerate(zip(merges.lefts, merges.rights, strict=True)):
        if seen.setdefault(pair, place) != place:
            raise ValueError(
                f"{merge_name(place)}: {' '.join(pair)!r} repeats {merge_name(seen[pair])}"
            )


def spell_vocab(parts: Parts) -> dict[str, int]:
    """Turn tokens into what the files have: special tokens as they are, all others spelled.

    A special token that ordinary text can turn into is there in both ways, with one id.

    Args:
        parts: all that makes the tokenizer.

    Returns:
        The id of each token, in the order of the ids.

    Raises:
        ValueError: if a special token looks like the spelling of another token.
    """
    special = set(parts.special_tokens.values())
    ordinary = set(parts.merges[2]) if parts.merges else set()
    written = [
        (token_id, token)
        for token_id, token in enumerate(parts.tokens)
        if token is not None
        and (token_id not in special or token_id in ordinary or len(token) == 1)
    ]
    spellings = spell_all([token for _, token in written])
    ids = dict(zip(spellings, (token_id for token_id, _ in written), strict=True))
    for token, token_id in parts.special_tokens.items():
        if ids.setdefault(token, token_id) != token_id:
            raise ValueError(
                f"special token {token!r} cannot be written: in the file's spelling it is also "
                f"the token {parts.tokens[ids[token]]!r}"
            )
    return dict(sorted(ids.items(), key=itemgetter(1)))


def spell_merges(parts: Parts) -> list[str]:
    """Write each merge as two spelled tokens with a space between."""
    if parts.merges is None:
        raise AssertionError("merges are found before they are written")
    spellings = spell_all([token or b"" for token in parts.tokens])
    lefts, rights, _ = parts.merges
    return [
        f"{spellings[left]} {spellings[right]}" for left, right in zip(lefts, rights, strict=True)
    ]
