"""Between explicit merges and tiktoken's rule, which has none.

By tiktoken's rule any two neighbours that make a token merge, the lowest id first. Let R be what
stands for a token w somewhere in a text while it is being merged, and let no merge have crossed
its ends. What has happened within R is then what happens first to w alone, for merges elsewhere do
not change which pair within R comes first. So if R is ever two tokens, they are the two that w
alone comes to in the end: of all the ways to cut w in two, one at most ever merges. It follows that

- one explicit merge for each token, that last one, in the order of the ids, does what the rule
  does, whatever the vocab (`merges_of_rule`);
- explicit merges in the order of the ids do what the rule does if and only if no token is left in
  two by them, for these two the rule would merge and the merges do not (`why_not_rule`).
"""

from itertools import pairwise

from bpe_tok import _engine
from bpe_tok.formats.parts import MergeIds, Parts

_NEVER = 1 << 62


def merges_of_rule(parts: Parts) -> MergeIds:
    """Find merges that do what tiktoken's rule does.

    A token that the rule never makes by merging has no merge.

    Args:
        parts: a tokenizer by tiktoken's rule.

    Returns:
        The merges, in the order of the ids.
    """
    special_ids = set(parts.special_tokens.values())
    ids = {
        token: token_id
        for token_id, token in enumerate(parts.tokens)
        if token is not None and (len(token) == 1 or token_id not in special_ids)
    }
    lefts, rights, wholes = [], [], []
    for token, token_id in ids.items():
        if len(token) > 1:
            last = _last_two(token, ids)
            if last is not None:
                lefts.append(ids[last[0]])
                rights.append(ids[last[1]])
                wholes.append(token_id)
    return lefts, rights, wholes


def _last_two(token: bytes, ids: dict[bytes, int]) -> tuple[bytes, bytes] | None:
    """Merge the bytes of a token until two parts are left, or no more can be merged."""
    if len(token) == 2:
        return token[:1], token[1:]
    id_of = ids.get
    parts = [token[place : place + 1] for place in range(len(token))]
    pairs = [id_of(token[place : place + 2], _NEVER) for place in range(len(token) - 1)]
    while len(parts) > 2:
        best = min(pairs)
        if best == _NEVER:
            return None
        place = pairs.index(best)
        parts[place] += parts.pop(place + 1)
        del pairs[place]
        if place:
            pairs[place - 1] = id_of(parts[place - 1] + parts[place], _NEVER)
        if place < len(pairs):
            pairs[place] = id_of(parts[place] + parts[place + 1], _NEVER)
    return parts[0], parts[1]


def why_not_rule(parts: Parts) -> str | None:
    """Tell why tiktoken's rule would not give the ids that these merges give.

    Args:
        parts: any tokenizer.

    Returns:
        The reason, or None if the ids are the same on every text.
    """
    if parts.merges is None:
        return None
    wholes = parts.merges[2]
    for rank, (before, whole) in enumerate(pairwise(wholes), 1):
        if whole < before:
            return (
                f"merges[{rank}] makes id {whole} and comes after the merge that makes id "
                f"{before}, but tiktoken merges in the order of the ids"
            )
    return _cut_token(parts, allow_three=parts.ignore_merges)


def without_ignore_merges(parts: Parts, name: str) -> Parts:
    """Find merges that give the same ids with `ignore_merges` off.

    Args:
        parts: any tokenizer.
        name: what cannot hold `ignore_merges` or tiktoken's rule, for the message.

    Returns:
        The tokenizer with explicit merges.

    Raises:
        ValueError: if there are none.
    """
    if parts.merges is not None and not parts.ignore_merges:
        return parts
    merges = merges_of_rule(parts) if parts.merges is None else parts.merges
    explicit = parts._replace(merges=merges, ignore_merges=False)
    reason = _cut_token(explicit, allow_three=False)
    if reason is not None:
        raise ValueError(
            f"this tokenizer cannot be written as {name}, where tokens come from merges alone: "
            f"{reason}; tokenizer.json holds it"
        )
    return explicit


def _cut_token(parts: Parts, *, allow_three: bool) -> str | None:
    """Find a token that merges leave cut: in two, or in any number."""
    merges = parts.merges or ([], [], [])
    made = set(merges[2])
    special = {token_id for token_id in parts.special_tokens.values() if token_id not in made}
    ids = [
        token_id
        for token_id, token in enumerate(parts.tokens)
        if token is not None and (token_id not in special or len(token) == 1)
    ]
    encoder = _engine.implementation.Encoder(parts.tokens, merges, False, "gpt2", [])
    pieces = [_as_text(parts.tokens[token_id]) for token_id in ids]
    if encoder.encode_pieces(pieces) == ids:
        return None
    for token_id, piece in zip(ids, pieces, strict=True):
        cut = encoder.encode_pieces([piece])
        if len(cut) == 2 or (len(cut) > 2 and not allow_three):
            return (
                f"the merges leave the token {parts.tokens[token_id]!r}, id {token_id}, as "
                f"{[parts.tokens[part] for part in cut]}"
            )
    return None


def _as_text(token: bytes | None) -> str:
    return (token or b"").decode("utf-8", "surrogateescape")
