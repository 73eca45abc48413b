from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_data import EpochWindows, Mixture, RandomWindows, SequentialWindows
from tlm_data.mixture import schedule


def source(number: int, context_length: int = 4) -> EpochWindows:
    """Windows whose tokens tell the source."""
    return EpochWindows(np.arange(60) + 1000 * number, context_length, seed=number)


@settings(deadline=None)
@given(parts=st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_counts_stay_within_one_of_their_shares(parts: list[int]) -> None:
    order = schedule(parts)
    assert np.bincount(order, minlength=len(parts)).tolist() == parts
    for number, part in enumerate(parts):
        counts = np.cumsum(order == number)
        # In whole numbers: |count - n * part / period| < 1.
        apart = np.abs(counts * sum(parts) - np.arange(1, len(order) + 1) * part)
        assert apart.max() < sum(parts)


@settings(deadline=None)
@given(
    weights=st.lists(st.floats(1, 100), min_size=1, max_size=5),
    first=st.integers(0, 30_000),
    count=st.integers(0, 200),
)
def test_rows_are_those_of_the_sources_in_turn(
    weights: list[float], first: int, count: int
) -> None:
    mixture = Mixture([(source(i), weight) for i, weight in enumerate(weights)])
    for share, weight in zip(mixture.shares, weights, strict=True):
        assert abs(share - Fraction(weight) / sum(map(Fraction, weights))) <= Fraction(1, 10_000)
    assert sum(mixture.shares) == 1
    inputs = mixture.rows(range(first, first + count)).inputs
    of_row = inputs[:, 0].numpy() // 1000
    for number, share in enumerate(mixture.shares):
        before = mixture._count(number, first)
        assert abs(before - first * share) < 1
        own = inputs[torch.from_numpy(of_row == number)]
        assert torch.equal(own, source(number).rows(range(before, before + len(own))).inputs)


def test_weights_are_meant_as_they_are_written() -> None:
    mixture = Mixture([(source(i), weight) for i, weight in enumerate((0.7, 0.2, 0.1))])
    assert mixture.shares == [Fraction(7, 10), Fraction(2, 10), Fraction(1, 10)]
    assert Mixture([(source(0), 3), (source(1), 1)]).shares == [Fraction(3, 4), Fraction(1, 4)]
    assert Mixture([(source(0), 0.2)]).rows(range(9)).inputs.shape == (9, 4)
    weights = (np.float32(0.1), np.int64(1), Fraction(1, 10))
    mixture = Mixture([(source(i), weight) for i, weight in enumerate(weights)])  # type: ignore[misc]
    assert mixture.shares == [Fraction(1, 12), Fraction(10, 12), Fraction(1, 12)]


def test_mixtures_of_mixtures_and_of_other_kinds() -> None:
    inner = Mixture([(source(0), 1), (RandomWindows(np.arange(60) + 1000, 4, seed=0), 1)])
    outer = Mixture([(inner, 1), (source(2), 1)])
    of_row = outer.rows(range(400)).inputs[:, 0].numpy() // 1000
    assert np.bincount(of_row).tolist() == [100, 100, 200]


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="a mixture needs at least one source"):
        Mixture([])
    for weight in (0, -1.0, float("nan"), float("inf"), True, None, "a"):
        with pytest.raises(ValueError, match=f"weight={weight!r} must be a number, positive"):
            Mixture([(source(0), weight), (source(1), 1)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"weight=tensor\(0\.5000\) must be a number"):
        Mixture([(source(0), torch.tensor(0.5)), (source(1), 1)])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"weight=1 is less than one in 10000 of all weights"):
        Mixture([(source(0), 10**400), (source(1), 1)])
    twice = source(0)
    with pytest.raises(ValueError, match="the same samples twice would repeat each of their rows"):
        Mixture([(twice, 1), (source(1), 1), (twice, 2)])
    with pytest.raises(ValueError, match=r"weight=1e-09 is less than one in 10000 of all weights"):
        Mixture([(source(0), 1), (source(1), 1e-9)])
    with pytest.raises(ValueError, match=r"context_length must be one .* but is \[4, 5\]"):
        Mixture([(source(0), 1), (source(1, 5), 1)])
    with pytest.raises(ValueError, match="SequentialWindows ends after 15 rows: mix sources"):
        Mixture([(SequentialWindows(np.arange(60), 4), 1)])
    with pytest.raises(ValueError, match="must be consecutive, from 0 on"):
        Mixture([(source(0), 1)]).rows(range(-1, 2))
