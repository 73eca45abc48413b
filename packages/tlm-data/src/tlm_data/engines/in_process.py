"""Work in this process, one item after another."""

from concurrent.futures import Future
from functools import partial
from typing import Any

from tlm_data.engines.engine import OnReport, Work


class InProcess:
    """The engine without workers: `submit` returns when the work is done.

    Args:
        work: What to do with each item.
        shared: Its first argument.
        on_report: Called with what it reports.
    """

    num_workers = 1
    max_submitted = 1

    def __init__(self, work: Work, shared: Any, on_report: OnReport) -> None:
        self._work = work
        self._shared = shared
        self._on_report = on_report

    def __enter__(self) -> "InProcess":
        """Return the engine, which needs no start."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing."""

    def submit(self, item: Any) -> "Future[Any]":
        """Do the work now."""
        future: Future[Any] = Future()
        try:
            future.set_result(self._work(self._shared, item, partial(self._on_report, item)))
        except Exception as error:
            future.set_exception(error)
        return future
