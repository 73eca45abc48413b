"""Several threads on one stream of work."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from bpe_tok import _engine

Item = TypeVar("Item")
Result = TypeVar("Result")


def thread_count(threads: int | None) -> int:
    """Return how many threads to use.

    Args:
        threads: what the caller asks for; None is as many as there are CPUs for this process, but
            one with the Python engine, which gains nothing from more.

    Raises:
        ValueError: if it is less than 1.
    """
    if threads is not None:
        if not isinstance(threads, int):
            raise TypeError(f"threads={threads!r} must be an integer, or None for all CPUs")
        if threads < 1:
            raise ValueError(f"threads={threads} must be at least 1, or None for all CPUs")
        return threads
    if _engine.name == "pure":
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Call a function on each item in several threads, and yield the results in order.

    Items are taken as they are needed: no more than two for each thread are on their way.

    Args:
        function: what to call.
        items: its arguments.
        threads: how many threads to use; with 1 all is done in this one.

    Yields:
        What the function returns, in the order of the items.
    """
    if threads == 1:
        yield from map(function, items)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, "bpe-tok") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def split_evenly(items: Sequence[Item], num_parts: int) -> Iterator[Sequence[Item]]:
    """Cut a list into parts of about equal length, none of them empty.

    >>> list(split_evenly([1, 2, 3, 4, 5], 2))
    [[1, 2, 3], [4, 5]]
    """
    length = max(-(-len(items) // num_parts), 1)
    for start in range(0, len(items), length):
        yield items[start : start + length]
