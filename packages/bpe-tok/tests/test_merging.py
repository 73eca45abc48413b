from bpe_tok._pure.merging import merge_long, merge_short
from hypothesis import given
from hypothesis import strategies as st


def naive(ids: list[int], merges: list[tuple[int, int, int]]) -> list[int]:
    """The definition: do each merge in turn, everywhere, from the left."""
    for left, right, whole in merges:
        i = 0
        while i < len(ids) - 1:
            if (ids[i], ids[i + 1]) == (left, right):
                ids[i : i + 2] = [whole]
            i += 1
    return ids


@st.composite
def merge_lists(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    merges: dict[tuple[int, int], int] = {}
    for whole in range(4, draw(st.integers(4, 30))):
        part = st.integers(0, whole - 1)
        merges.setdefault(draw(st.tuples(part, part)), whole)
    return [(left, right, whole) for (left, right), whole in merges.items()]


@given(st.lists(st.integers(0, 3), max_size=80), merge_lists())
def test_both_ways_to_merge_are_the_definition(
    ids: list[int], merges: list[tuple[int, int, int]]
) -> None:
    expected = naive(list(ids), merges)
    ranks: list[dict[int, int]] = [{} for _ in range(34)]
    for rank, (left, right, _) in enumerate(merges):
        ranks[left][right] = rank
    wholes = [whole for _, _, whole in merges]
    short, long = list(ids), list(ids)
    merge_short(short, ranks, wholes)
    merge_long(long, ranks, wholes)
    assert short == expected
    assert long == expected
