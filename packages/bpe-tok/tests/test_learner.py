from collections import Counter
from itertools import pairwise

from bpe_tok.merges import learn_merges
from hypothesis import given
from hypothesis import strategies as st


def naive(counts: dict[str, int], num_merges: int) -> list[tuple[bytes, bytes]]:
    """The definition: count all pairs anew each time."""
    words = {word: [bytes([byte]) for byte in word.encode()] for word in counts}
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for parts in words.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [parts[i] + parts[i + 1]]
                i += 1
    return merges


WORDS = st.text("abc", max_size=12) | st.text(max_size=6)
COUNTS = st.dictionaries(WORDS, st.integers(1, 20), max_size=25)


@given(COUNTS, st.integers(0, 60))
def test_merges_are_those_of_the_definition(counts: dict[str, int], num_merges: int) -> None:
    assert learn_merges(counts, num_merges) == naive(counts, num_merges)


def test_ties_go_to_the_greatest_pair() -> None:
    # ("a", "b") is less than ("aa", "a") though the one starts with the other's start.
    counts = {"ba": 1, "ca": 1, "cb": 1, "xéz": 1}
    assert learn_merges(counts, 9) == naive(counts, 9)
    assert learn_merges(counts, 1) == [(b"\xc3", b"\xa9")]


def test_progress_is_told_rarely_and_to_the_end() -> None:
    counts = {f"{n}": 1 for n in range(3000)}
    calls: list[tuple[int, int]] = []
    learn_merges(counts, 1000, lambda done, total: calls.append((done, total)))
    assert calls == [(done, 1000) for done in range(10, 1001, 10)]
    calls.clear()
    assert learn_merges({"abc": 1}, 10, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (2, 10)


def test_one_long_word() -> None:
    assert learn_merges({"a" * 300_000: 1}, 4) == [(b"a" * n, b"a" * n) for n in (1, 2, 4, 8)]
