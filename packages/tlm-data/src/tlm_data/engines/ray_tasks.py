"""Work on a Ray cluster: many machines, all of which see the same files."""

import logging
import os
import socket
from concurrent.futures import Future
from typing import Any

from tlm_data.engines.engine import MAX_ATTEMPTS, Work, WorkerLostError


class RayTasks:
    """The engine of a Ray cluster: an item is a task, which Ray begins again if its worker dies.

    Args:
        work: What to do with each item; its module must be installed on all machines.
        shared: Its first argument; put into the cluster's object store once.
        num_workers: How many tasks at a time; None is as many as the cluster has CPUs.
        address: The cluster, as for `ray.init`; None is the one that `RAY_ADDRESS` names, else one
            of this machine alone, which is started.

    Raises:
        ValueError: Ray is not installed, or no cluster answers at the address.
    """

    def __init__(
        self, work: Work, shared: Any, num_workers: int | None, address: str | None
    ) -> None:
        # Ray is not to report on its users, unless they want it to.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise ValueError("engine=ray needs Ray: pip install 'tlm-data[ray]'") from None
        if not ray.is_initialized():
            _require_answer(address)
        self._ray = ray
        self._work = work
        self._shared = shared
        self._num_workers = num_workers
        self._address = address
        self._connected_here = False
        self._running: set[Any] = set()

    def __enter__(self) -> "RayTasks":
        """Connect to the cluster, unless this process is connected.

        Raises:
            ValueError: The cluster at the address cannot be used.
        """
        if not self._ray.is_initialized():
            try:
                self._ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ValueError(f"ray_address={self._address}: {error}") from None
            self._connected_here = True
        self._reference = self._ray.put(self._shared)
        self._task = self._ray.remote(num_cpus=1, max_retries=MAX_ATTEMPTS - 1)(_do)
        return self

    def __exit__(self, *exception: object) -> None:
        """Cancel what is not done, and disconnect."""
        for task in list(self._running):
            self._ray.cancel(task, force=True)
        if self._connected_here:
            self._ray.shutdown()

    @property
    def num_workers(self) -> int:
        """The CPUs that the cluster has now, or what was asked for."""
        resources: dict[str, float] = self._ray.cluster_resources()  # type: ignore[no-untyped-call]
        return self._num_workers or max(1, int(resources.get("CPU", 1)))

    @property
    def max_submitted(self) -> int:
        """Twice as many."""
        return 2 * self.num_workers

    def submit(self, item: Any) -> "Future[Any]":
        """Give an item to the cluster."""
        task = self._task.remote(self._work, self._reference, item)
        self._running.add(task)
        future: Future[Any] = Future()

        def settle(done: "Future[Any]") -> None:
            self._running.discard(task)
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(self._own_error(error))

        task.future().add_done_callback(settle)
        return future

    def _own_error(self, error: BaseException) -> BaseException:
        """Return what the work raised, or say that its workers died."""
        if isinstance(error, self._ray.exceptions.RayTaskError):
            cause: BaseException = error.cause
            cause.__cause__ = error
            return cause
        return WorkerLostError(f"{MAX_ATTEMPTS} workers were lost, one after another: {error}")


def _require_answer(address: str | None) -> None:
    """Raise ValueError if nobody answers at an address; Ray would end the process."""
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "://" in host:
        return  # such as auto or ray://head:10001
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ValueError(f"no Ray cluster answers at ray_address={address}: {error}") from None


def _do(work: Work, shared: Any, item: Any) -> Any:
    return work(shared, item, lambda done: None)
