import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data.hashing import hash64, stream_key
from tlm_data.permutation import permute


def chi_squared_sigmas(counts: np.ndarray, expected: float) -> float:
    """How many standard deviations the statistic is above what chance gives."""
    freedom = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5)


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**64))
def test_an_order_has_everything_once(size: int, seed: int) -> None:
    order = permute(np.arange(size), size, stream_key(seed))
    assert np.array_equal(np.sort(order), np.arange(size))


@given(size=st.integers(2**21, 2**40), first=st.integers(0, 2**20), seed=st.integers(0, 100))
def test_places_of_a_large_order_are_distinct_and_do_not_depend_on_one_another(
    size: int, first: int, seed: int
) -> None:
    places = np.arange(first, first + 200)
    order = permute(places, size, stream_key(seed))
    assert len(set(order.tolist())) == len(places)
    assert order.min() >= 0 and order.max() < size
    assert permute(places[5:6], size, stream_key(seed)) == order[5:6]


def test_several_orders_at_once_are_those_of_their_keys() -> None:
    keys = hash64(stream_key(3), np.arange(4))
    together = permute(np.tile(np.arange(7), 4), 7, np.repeat(keys, 7)).reshape(4, 7)
    for key, order in zip(keys, together, strict=True):
        assert np.array_equal(order, permute(np.arange(7), 7, np.array([key])))


@pytest.mark.parametrize("size", [2, 5, 7, 97, 1000])
def test_each_thing_and_each_pair_is_as_likely_as_any_other(size: int) -> None:
    num_orders = 20_000
    keys = hash64(stream_key(size), np.arange(num_orders))
    first, second = (permute(np.full(num_orders, place), size, keys) for place in (0, 1))
    assert chi_squared_sigmas(np.bincount(first, minlength=size), num_orders / size) < 5
    steps = np.bincount((second - first) % size, minlength=size)
    assert steps[0] == 0
    if size > 2:
        assert chi_squared_sigmas(steps[1:], num_orders / (size - 1)) < 5


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_order_of_few_things_is_as_likely(size: int) -> None:
    num_orders = 100 * math.factorial(size) + 20_000
    keys = np.repeat(hash64(stream_key(size), np.arange(num_orders)), size)
    orders = permute(np.tile(np.arange(size), num_orders), size, keys).reshape(-1, size)
    numbers = orders @ size ** np.arange(size)
    _, counts = np.unique(numbers, return_counts=True)
    assert len(counts) == math.factorial(size)
    assert chi_squared_sigmas(counts, num_orders / len(counts)) < 4


def test_neighbours_go_far_apart() -> None:
    order = permute(np.arange(10_000), 10_000, stream_key(0))
    mean_distance = np.abs(np.diff(order)).mean()
    assert mean_distance == pytest.approx(10_000 / 3, rel=0.05)


def test_bits_of_the_hash_are_fair_and_change_with_each_bit_of_the_number() -> None:
    numbers = np.arange(4096)
    hashes = hash64(stream_key(1), numbers)
    bits = hashes[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / 64
    for bit in range(12):
        changed = hashes ^ hash64(stream_key(1), numbers ^ (1 << bit))
        share = np.bitwise_count(changed).mean() if hasattr(np, "bitwise_count") else 32
        assert share == pytest.approx(32, abs=0.5)


def test_keys_depend_on_all_of_their_entropy() -> None:
    small = [(0,), (1,), (0, 1), (1, 0), (1, 1), (5, 1)]
    large = [
        (5 + 2**32, 0),
        (5 + 2**32,),
        (5, 2**32),
        (5 + 2**32, 1),
        (5 + 2**32 + 2**64,),
        (2**96,),
    ]
    keys = {int(stream_key(*entropy)[0]) for entropy in small + large}
    assert len(keys) == len(small + large)
