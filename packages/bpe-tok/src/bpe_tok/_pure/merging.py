"""Merging the parts of one pretoken: pairs of tokens become one, the lowest rank first."""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

Ranks = Sequence[Mapping[int, int]]
"""For each id, the ranks of the pairs that it is the left part of, by the right part. The pair of
the lowest rank merges first, and of equal ranks the leftmost."""

_LONG = 256
_NEVER = 1 << 62


def merge(ids: list[int], ranks: Ranks, wholes: Sequence[int]) -> None:
    """Merge pairs in place, in the quicker of the two ways.

    Args:
        ids: token ids; changed in place.
        ranks: see `Ranks`.
        wholes: the id that a pair becomes, by rank.
    """
    (merge_long if len(ids) > _LONG else merge_short)(ids, ranks, wholes)


def merge_short(ids: list[int], ranks: Ranks, wholes: Sequence[int]) -> None:
    """Merge pairs in place until none is left that can be; quadratic, but quick on short lists.

    Args:
        ids: token ids; changed in place.
        ranks: see `Ranks`.
        wholes: the id that a pair becomes, by rank.

    >>> ids = [1, 2, 3, 1, 2]
    >>> merge_short(ids, [{}, {2: 1}, {3: 0}, {}, {}, {}], [5, 4])
    >>> ids
    [1, 5, 4]
    """
    # pair_ranks[i] is the rank of the pair (ids[i], ids[i + 1]).
    pair_ranks = [ranks[left].get(right, _NEVER) for left, right in pairwise(ids)]
    while pair_ranks and (best := min(pair_ranks)) != _NEVER:
        i = pair_ranks.index(best)
        whole = ids[i] = wholes[best]
        del ids[i + 1], pair_ranks[i]
        if i:
            pair_ranks[i - 1] = ranks[ids[i - 1]].get(whole, _NEVER)
        if i < len(pair_ranks):
            pair_ranks[i] = ranks[whole].get(ids[i + 1], _NEVER)


def merge_long(ids: list[int], ranks: Ranks, wholes: Sequence[int]) -> None:
    """Do what `merge_short` does in n log n steps: a linked list, and a heap of pairs by rank.

    Args:
        ids: token ids; changed in place.
        ranks: see `Ranks`.
        wholes: the id that a pair becomes, by rank.
    """
    end = len(ids)
    after = list(range(1, end + 1))
    before = list(range(-1, end - 1))
    heap = [
        (rank, i)
        for i, (left, right) in enumerate(pairwise(ids))
        if (rank := ranks[left].get(right)) is not None
    ]
    heapify(heap)
    gone = -1
    while heap:
        rank, i = heappop(heap)
        j = after[i]
        # The pair that was pushed is no longer there if either part has been merged since.
        if ids[i] == gone or j == end or ranks[ids[i]].get(ids[j]) != rank:
            continue
        whole = ids[i] = wholes[rank]
        ids[j] = gone
        j = after[i] = after[j]
        if j != end:
            before[j] = i
            if (right_rank := ranks[whole].get(ids[j])) is not None:
                heappush(heap, (right_rank, i))
        h = before[i]
        if h >= 0 and (left_rank := ranks[ids[h]].get(whole)) is not None:
            heappush(heap, (left_rank, h))
    ids[:] = [token for token in ids if token != gone]
