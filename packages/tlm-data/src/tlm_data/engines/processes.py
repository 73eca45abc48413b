"""Work in several processes of this machine, any of which may be killed."""

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any

from tlm_data.engines.engine import MAX_ATTEMPTS, OnReport, Work, WorkerLostError

_EXIT_SECONDS = 5
# A fresh interpreter, not a fork, which would copy the locks of other threads as they stand.
_context = multiprocessing.get_context("spawn")


class ProcessPool:
    """The engine of several processes.

    Each worker process has a thread here that feeds it. When it dies, that thread starts another
    and gives it the same item; the work of other workers goes on. (The executor of
    `concurrent.futures` ends all workers when one dies.)

    Args:
        work: What to do with each item, a function of a module.
        shared: Its first argument; pickled once.
        num_workers: How many processes; None is as many as there are CPUs for this one.
        on_report: Called with what they report, from other threads.

    Raises:
        ValueError: `shared` cannot be pickled.
        SystemExit: This is a worker itself, in which a script's main module is run once more.
    """

    def __init__(
        self, work: Work, shared: Any, num_workers: int | None, on_report: OnReport
    ) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise SystemExit(1)  # the parent says what is wrong, once for all workers
        self.num_workers = num_workers or _num_cpus()
        self.max_submitted = 2 * self.num_workers
        self._on_report = on_report
        self._items: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._closed = False
        try:
            self._start_arguments = (work, pickle.dumps(shared))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"this cannot be sent to other processes: {error}; make it of functions and "
                "classes that stand in a module, or use engine=inprocess"
            ) from None
        self._workers = [_Worker(self._start_arguments) for _ in range(self.num_workers)]
        self._threads = [
            threading.Thread(target=self._feed, args=(worker,), daemon=True)
            for worker in self._workers
        ]

    def __enter__(self) -> "ProcessPool":
        """Start the threads, which start a process each when there is work for it."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """End all workers, also those that are at work."""
        self._closed = True
        for worker in self._workers:
            worker.end(for_good=True)
            self._items.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, item: Any) -> "Future[Any]":
        """Give an item to the first worker that is free."""
        future: Future[Any] = Future()
        self._items.put((item, future))
        return future

    def _feed(self, worker: "_Worker") -> None:
        # Ctrl-C goes to all processes of a terminal; it is the parent who ends the work. What a
        # thread blocks the processes that it starts never see, from their first moment on.
        if hasattr(signal, "pthread_sigmask"):
            resource_tracker.ensure_running()  # whose start lets the signal through again
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        while (task := self._items.get()) is not None and not self._closed:
            item, future = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._do(worker, item))
            except BaseException as error:
                future.set_exception(error)

    def _do(self, worker: "_Worker", item: Any) -> Any:
        for _ in range(MAX_ATTEMPTS):
            try:
                return worker.call(item, self._on_report)
            except _DiedError:
                death = worker.end()
                if not worker.is_ready and death.startswith("exit"):
                    raise ValueError(
                        f"a worker process could not start ({death}): a script that calls this "
                        "must do so under `if __name__ == '__main__':`, since its workers import it"
                    ) from None
        raise WorkerLostError(
            f"{MAX_ATTEMPTS} worker processes died one after another of {item} ({death}): there "
            "may be too little memory; use fewer workers"
        )


class _DiedError(Exception):
    """The process at the other end of a pipe is no more."""


class _Worker:
    """One process at a time, and a pipe to it."""

    def __init__(self, start_arguments: tuple[Work, bytes]) -> None:
        self._start_arguments = start_arguments
        self.is_ready = False
        self._process: Any = None
        self._lock = threading.Lock()
        self._ended = False

    def call(self, item: Any, on_report: OnReport) -> Any:
        """Have one item done.

        Raises:
            _DiedError: The process died.
            Exception: What the work raised.
        """
        with self._lock:
            if self._ended:
                raise WorkerLostError("the workers were ended")
            if self._process is None:
                self._start()
        self._exchange(self._pipe.send, item)
        while True:
            kind, value = self._exchange(self._pipe.recv)
            self.is_ready = True
            if kind == "ready":
                continue
            if kind == "report":
                on_report(item, value)
            elif kind == "result":
                return value
            else:
                error, where = value
                raise error from _InWorkerError(where)

    def _exchange(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (EOFError, OSError):
            raise _DiedError from None

    def _start(self) -> None:
        self.is_ready = False
        self._pipe, theirs = _context.Pipe()
        process = _context.Process(
            target=_serve, args=(theirs, *self._start_arguments), daemon=True
        )
        process.start()
        # So that the pipe ends when the process does.
        theirs.close()
        self._process = process

    def end(self, *, for_good: bool = False) -> str:
        """End the process, if there is one, and say how it ended."""
        with self._lock:
            self._ended = self._ended or for_good
            process, self._process = self._process, None
        if process is None:
            return "ended"
        if not for_good:
            process.join(_EXIT_SECONDS)  # it has closed its pipe, and is about to
        process.terminate()
        process.join()
        code = process.exitcode
        return f"signal {-code}" if code < 0 else f"exit code {code}"


class _InWorkerError(Exception):
    """Carries the traceback of an error in a worker, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _num_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _serve(pipe: "Connection[Any, Any]", work: Work, shared: bytes) -> None:
    """Be a worker: do what comes through the pipe until it ends."""
    # Where the parent could not block it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    argument = pickle.loads(shared)
    pipe.send(("ready", None))
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            message = ("result", work(argument, item, lambda done: pipe.send(("report", done))))
        except Exception as error:
            message = ("error", (_picklable(error), traceback.format_exc()))
        with contextlib.suppress(ConnectionError):
            pipe.send(message)


def _die_with_parent() -> None:
    """End this process at once when the parent has died, whatever it is at."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _picklable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
