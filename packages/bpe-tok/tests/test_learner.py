from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from bpe_tok import _engine
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
Pairs = list[tuple[bytes, bytes]]


def naive(counts: dict[str, int], num_merges: int, min_frequency: int = 1) -> Pairs:
    """The definition: count all pairs anew each time."""
    words = {word: [bytes([byte]) for byte in word.encode()] for word in counts}
    merges: Pairs = []
    while len(merges) < num_merges:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < min_frequency:
            break
        merges.append(best)
        for parts in words.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [parts[i] + parts[i + 1]]
                i += 1
    return merges


def learner_of(counts: dict[str, int], min_frequency: int = 1) -> Any:
    counter = _engine.implementation.PretokenCounter("gpt2", [])
    for word, count in counts.items():
        counter.add_pieces([word] * count)
    learner = counter.learner(min_frequency)
    assert counter.counts() == {}
    return learner


def as_bytes(numbers: list[tuple[int, int]]) -> Pairs:
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in numbers:
        tokens.append(tokens[left] + tokens[right])
    return [(tokens[left], tokens[right]) for left, right in numbers]


def learn(counts: dict[str, int], num_merges: int, min_frequency: int = 1) -> Pairs:
    return as_bytes(learner_of(counts, min_frequency).learn(num_merges))


WORDS = st.text("abc", max_size=12) | st.text(max_size=6)
COUNTS = st.dictionaries(WORDS, st.integers(1, 20), max_size=25)


@given(COUNTS, st.integers(0, 60), st.integers(1, 8))
@example({"abab": 5, "ba": 3}, 9, 3)
def test_merges_are_those_of_the_definition(
    counts: dict[str, int], num_merges: int, min_frequency: int
) -> None:
    expected = naive(counts, num_merges, min_frequency)
    assert learn(counts, num_merges, min_frequency) == expected


@given(COUNTS, st.lists(st.integers(0, 9), max_size=12))
def test_merges_come_a_few_at_a_time(counts: dict[str, int], steps: list[int]) -> None:
    learner = learner_of(counts)
    learned = [pair for step in steps for pair in learner.learn(step)]
    assert as_bytes(learned) == naive(counts, sum(steps))


def test_ties_go_to_the_greatest_pair() -> None:
    # ("a", "b") is less than ("aa", "a") though the one starts with the other's start.
    counts = {"ba": 1, "ca": 1, "cb": 1, "xéz": 1}
    assert learn(counts, 9) == naive(counts, 9)
    assert learn(counts, 1) == [(b"\xc3", b"\xa9")]


def test_one_long_word() -> None:
    assert learn({"a" * 300_000: 1}, 4) == [(b"a" * n, b"a" * n) for n in (1, 2, 4, 8)]


def test_stray_bytes_are_bytes() -> None:
    assert learn({"a\udcff": 2}, 4) == [(b"a", b"\xff")]
