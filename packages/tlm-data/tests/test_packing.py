import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlm_data.packing import pack, sort_order


def best_fit_decreasing(lengths: list[int], capacity: int) -> int:
    """The number of rows that the textbook's loop needs."""
    spaces: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [space for space in spaces if space >= length]
        if fitting:
            spaces[spaces.index(min(fitting))] -= length
        else:
            spaces.append(capacity - length)
    return len(spaces)


@given(capacity=st.integers(1, 60), data=st.data())
def test_rows_hold_what_fits_and_are_as_few_as_the_textbooks(
    capacity: int, data: st.DataObject
) -> None:
    lengths = data.draw(st.lists(st.integers(1, capacity), max_size=80))
    rows, num_rows = pack(np.array(lengths, dtype=np.int64), capacity)
    filled = np.bincount(rows, lengths, num_rows)
    assert len(filled) == num_rows and (filled <= capacity).all()
    assert (filled > 0).all()
    assert num_rows == best_fit_decreasing(lengths, capacity)


@pytest.mark.parametrize("mean", [30, 150, 700])
@pytest.mark.parametrize("capacity", [256, 1024])
def test_typical_documents_fill_rows_to_97_percent_and_more(mean: int, capacity: int) -> None:
    rng = np.random.default_rng(0)
    documents = rng.lognormal(np.log(mean) - 0.5, 1.0, size=2**20 // mean).astype(np.int64) + 1
    rests = documents % capacity
    full = np.full((documents // capacity).sum(), capacity)
    lengths = np.concatenate([full, rests[rests > 0]])
    _, num_rows = pack(lengths, capacity)
    assert lengths.sum() / (num_rows * capacity) > 0.97


def test_a_wide_row_costs_no_memory_of_its_width() -> None:
    tracemalloc.start()
    rows, _ = pack(np.full(16, 10, dtype=np.int64), 1 << 24)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.tolist() == [0] * 16
    assert peak_bytes < 1 << 24  # one number a place would be 2**27


@given(numbers=st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**40))))
def test_sorting_keeps_the_order_of_equals(numbers: list[int]) -> None:
    order = sort_order(np.array(numbers, dtype=np.int64)).tolist()
    assert order == sorted(range(len(numbers)), key=lambda i: numbers[i])
