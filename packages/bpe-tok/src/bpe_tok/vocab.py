"""What a vocab and its merges must be to make a tokenizer."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_UNUSED_IDS = 1 << 16
"""Ids below the highest that may be unused; more of them are a damaged vocab."""


def token_ids(vocab: Mapping[int, bytes]) -> dict[bytes, int]:
    """Check a vocab, and turn it round.

    Args:
        vocab: the bytes of each id.

    Returns:
        The id of each token.

    Raises:
        ValueError: if an id cannot be one, a token comes twice, or a byte has no token.
    """
    check_ids(vocab, "vocab")
    ids: dict[bytes, int] = {}
    for token_id, token in vocab.items():
        if not isinstance(token, bytes) or not token:
            raise ValueError(f"vocab[{token_id}]={token!r} must be bytes, at least one")
        if token in ids:
            raise ValueError(f"vocab has {token!r} twice, as ids {ids[token]} and {token_id}")
        ids[token] = token_id
    check_bytes(ids, "vocab")
    return ids


def check_ids(ids: Iterable[Any], name: str) -> None:
    """Check that token ids are not negative and leave few ids unused.

    Args:
        ids: distinct ids.
        name: what holds them, for the message.

    Raises:
        ValueError: if they are not.
    """
    count = 0
    highest = -1
    for token_id in ids:
        if type(token_id) is not int or token_id < 0:
            raise ValueError(f"{name} has id {token_id!r}; ids must be integers, 0 or more")
        count += 1
        highest = max(highest, token_id)
    if highest + 1 - count > MAX_UNUSED_IDS:
        raise ValueError(
            f"{name} has id {highest} but only {count} tokens; at most {MAX_UNUSED_IDS:,} ids may "
            "be unused"
        )


def check_bytes(ids: Mapping[bytes, int], name: str) -> None:
    """Check that each of the 256 single bytes has an id.

    Args:
        ids: the id of each token.
        name: what holds them, for the message.

    Raises:
        ValueError: if one has none.
    """
    missing = [byte for byte in range(256) if bytes([byte]) not in ids]
    if missing:
        raise ValueError(
            f"{name} lacks {len(missing)} of the 256 single bytes, first {bytes(missing[:1])!r}"
        )


def pairs_of_bytes(merges: Iterable[Any]) -> list[tuple[bytes, bytes]]:
    """Check that merges are pairs of byte strings.

    Args:
        merges: what should be pairs, as tuples or lists.

    Returns:
        The pairs, as tuples.

    Raises:
        ValueError: if one is anything else.
    """
    pairs = []
    for place, merge in enumerate(merges):
        match merge:
            case bytes() as left, bytes() as right:
                pairs.append((left, right))
            case _:
                raise ValueError(
                    f"merges[{place}]={merge!r} must be two tokens as bytes, such as (b'a', b'b')"
                )
    return pairs


def merge_ids(
    merges: Sequence[tuple[bytes, bytes]], ids: Mapping[bytes, int]
) -> list[tuple[int, int, int]]:
    """Check merges against a vocab, and write them as ids.

    Args:
        merges: pairs of tokens, in the order learned.
        ids: the id of each token.

    Returns:
        The ids of left part, right part and whole of each merge.

    Raises:
        ValueError: if a part or the whole has no id, or a merge comes twice.

    >>> merge_ids([(b"a", b"b")], {b"a": 0, b"b": 1, b"ab": 2})
    [(0, 1, 2)]
    """
    seen: dict[tuple[bytes, bytes], int] = {}
    for place, (left, right) in enumerate(merges):
        for name, token in (
            ("left part", left),
            ("right part", right),
            ("result", left + right),
        ):
            if token not in ids:
                raise ValueError(
                    f"merges[{place}]={(left, right)!r}: the {name} {token!r} is not in the vocab"
                )
        if seen.setdefault((left, right), place) != place:
            raise ValueError(
                f"merges[{place}]={(left, right)!r} repeats merges[{seen[left, right]}]"
            )
    return [(ids[left], ids[right], ids[left + right]) for left, right in merges]
