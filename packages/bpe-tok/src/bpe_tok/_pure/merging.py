"""Merging the parts of one pretoken: pairs of tokens become one, the lowest rank first."""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

_LONG = 256
_NEVER = 1 << 62


def merge(ids: list[int], ranks: Mapping[tuple[int, int], int], wholes: Sequence[int]) -> None:
    """Merge pairs in place, in the quicker of the two ways.

    Args:
        ids: token ids; changed in place.
        ranks: the rank of each pair of ids that merges; lowest first, leftmost on equal rank.
        wholes: the id that a pair becomes, by rank.
    """
    (merge_long if len(ids) > _LONG else merge_short)(ids, ranks, wholes)


def merge_short(
    ids: list[int], ranks: Mapping[tuple[int, int], int], wholes: Sequence[int]
) -> None:
    """Merge pairs in place until none is left that can be; quadratic, but quick on short lists.

    Args:
        ids: token ids; changed in place.
        ranks: the rank of each pair of ids that merges; lowest first, leftmost on equal rank.
        wholes: the id that a pair becomes, by rank.

    >>> ids = [1, 2, 3, 1, 2]
    >>> merge_short(ids, {(2, 3): 0, (1, 2): 1}, [23, 12])
    >>> ids
    [1, 23, 12]
    """
    rank_of = ranks.get
    # pair_ranks[i] is the rank of the pair (ids[i], ids[i + 1]).
    pair_ranks = [rank_of(pair, _NEVER) for pair in pairwise(ids)]
    while pair_ranks and (best := min(pair_ranks)) != _NEVER:
        i = pair_ranks.index(best)
        whole = ids[i] = wholes[best]
        del ids[i + 1], pair_ranks[i]
        if i:
            pair_ranks[i - 1] = rank_of((ids[i - 1], whole), _NEVER)
        if i < len(pair_ranks):
            pair_ranks[i] = rank_of((whole, ids[i + 1]), _NEVER)


def merge_long(ids: list[int], ranks: Mapping[tuple[int, int], int], wholes: Sequence[int]) -> None:
    """Do what `merge_short` does in n log n steps: a linked list, and a heap of pairs by rank.

    Args:
        ids: token ids; changed in place.
        ranks: the rank of each pair of ids that merges; lowest first, leftmost on equal rank.
        wholes: the id that a pair becomes, by rank.
    """
    end = len(ids)
    after = list(range(1, end + 1))
    before = list(range(-1, end - 1))
    heap = [
        (rank, i) for i, pair in enumerate(pairwise(ids)) if (rank := ranks.get(pair)) is not None
    ]
    heapify(heap)
    gone = -1
    while heap:
        rank, i = heappop(heap)
        j = after[i]
        # The pair that was pushed is no longer there if either part has been merged since.
        if ids[i] == gone or j == end or ranks.get((ids[i], ids[j])) != rank:
            continue
        whole = ids[i] = wholes[rank]
        ids[j] = gone
        j = after[i] = after[j]
        if j != end:
            before[j] = i
            if (right_rank := ranks.get((whole, ids[j]))) is not None:
                heappush(heap, (right_rank, i))
        h = before[i]
        if h >= 0 and (left_rank := ranks.get((ids[h], whole))) is not None:
            heappush(heap, (left_rank, h))
    ids[:] = [token for token in ids if token != gone]
