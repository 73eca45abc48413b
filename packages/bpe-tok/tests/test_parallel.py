import threading
from collections.abc import Iterator

import pytest
from bpe_tok import _engine
from bpe_tok.parallel import map_in_order, split_evenly, thread_count


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order_and_no_more_is_taken_than_needed(threads: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for n in range(1000):
            taken = n + 1
            yield n

    results = map_in_order(lambda n: n * n, items(), threads)
    assert taken == 0
    for n in range(500):
        assert next(results) == n * n
        assert taken <= n + 2 * threads
    results.close()  # type: ignore[attr-defined]
    assert taken <= 500 + 2 * threads


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_comes_in_its_place(threads: int) -> None:
    results = map_in_order(lambda n: 1 // (3 - n), range(10), threads)
    assert [next(results), next(results), next(results)] == [0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_items_ends_it(threads: int) -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        list(map_in_order(abs, items(), threads))
    assert threading.active_count() == before


def test_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_count(3) == 3
    monkeypatch.setattr(_engine, "name", "core")
    assert thread_count(None) >= 1
    monkeypatch.setattr(_engine, "name", "pure")
    assert thread_count(None) == 1
    with pytest.raises(ValueError, match="threads=0 must be at least 1, or None for all CPUs"):
        thread_count(0)


def test_split_evenly() -> None:
    for length in range(20):
        for num_parts in range(1, 9):
            parts = list(split_evenly(range(length), num_parts))
            assert [item for part in parts for item in part] == list(range(length))
            assert len(parts) <= num_parts
            assert all(parts)
