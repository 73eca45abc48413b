"""What every format holds of a tokenizer, once it is read."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MergeIds = tuple[Sequence[int], Sequence[int], Sequence[int]]
"""The ids of left part, right part and whole of each merge; the rank of a merge is its place."""


class Parts(NamedTuple):
    """All that makes a tokenizer.

    Attributes:
        tokens: the bytes of each id; None where an id is unused.
        merges: the merges as ids, or None: any two neighbours that make a token merge, the lowest
            id first, which is tiktoken's rule.
        special_tokens: the id of each special token, in the order of the ids.
        pattern: the name of a published pattern, or a regular expression.
        ignore_merges: whether a pretoken that is a token is that token, whatever the merges say.
    """

    tokens: Sequence[bytes | None]
    merges: MergeIds | None
    special_tokens: Mapping[str, int]
    pattern: str = "gpt2"
    ignore_merges: bool = False
