"""What an engine is, and how one is chosen."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

EngineName = Literal["inprocess", "processes", "ray"]

Report = Callable[[int], None]
"""Called in a worker with how much of an item is done."""

Work = Callable[[Any, Any, Report], Any]
"""A function of a module: what is shared, an item, and how to report progress."""

OnReport = Callable[[Any, int], None]
"""Called with an item and how much of it is done, possibly from another thread."""

MAX_ATTEMPTS = 3
"""How often an item is begun whose worker dies; it may be what kills them."""


class WorkerLostError(RuntimeError):
    """Several workers in a row died of one item."""


class Engine(Protocol):
    """Does work on items; a context manager, at whose end no work goes on."""

    @property
    def num_workers(self) -> int:
        """How many items are worked on at a time."""

    @property
    def max_submitted(self) -> int:
        """How many items to have submitted at a time, so that no worker waits for the next one."""

    def submit(self, item: Any) -> Future[Any]:
        """Begin work on an item, now or when a worker is free."""


def start_engine(
    name: EngineName,
    work: Work,
    shared: Any,
    *,
    num_workers: int | None = None,
    ray_address: str | None = None,
    on_report: OnReport = lambda item, amount: None,
) -> AbstractContextManager[Engine]:
    """Start an engine.

    Args:
        name: Which one.
        work: What to do with each item.
        shared: Its first argument, sent to each worker once.
        num_workers: How many items to work on at a time. None: as many as there are CPUs, on this
            machine or in the cluster.
        ray_address: The Ray cluster, as for `ray.init`. None: one that runs on this machine, else
            one is started.
        on_report: Called with what workers report; with Ray they report nothing.

    Raises:
        ValueError: `name` is unknown, an option does not go with it, or Ray is not installed.
    """
    if num_workers is not None and num_workers < 1:
        raise ValueError(f"workers={num_workers} must be at least 1")
    if ray_address is not None and name != "ray":
        raise ValueError(f"ray_address={ray_address} needs engine=ray, not {name}")
    match name:
        case "inprocess":
            if num_workers not in (None, 1):
                raise ValueError(f"workers={num_workers} needs engine=processes or engine=ray")
            from tlm_data.engines.in_process import InProcess

            return InProcess(work, shared, on_report)
        case "processes":
            from tlm_data.engines.processes import ProcessPool

            return ProcessPool(work, shared, num_workers, on_report)
        case "ray":
            from tlm_data.engines.ray_tasks import RayTasks

            return RayTasks(work, shared, num_workers, ray_address)
    raise ValueError(f"engine={name!r} must be inprocess, processes or ray")
