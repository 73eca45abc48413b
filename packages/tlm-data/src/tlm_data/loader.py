"""Batches in order, for any number of ranks, from any point on."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from tlm_data.integers import whole_number
from tlm_data.samples import Batch, Samples


class Loader:
    """Gives the batches of some samples, one after the other.

    The batch of a step is a function of the samples' settings and the step alone. With several
    ranks each takes its part of it, so that together they read the same rows whatever their
    number. A loader pickles with its place, so that another process goes on from there.

    Args:
        samples: The rows, such as `RandomWindows`.
        batch_size: Rows in a batch, of all ranks together.
        device: Where batches go; to a CUDA device through pinned memory, without waiting.
        rank: Which part of each batch to give.
        world_size: The number of parts; it must divide `batch_size`.
        prefetch: Whether a thread makes the next batch while this one is used. That pays where
            tokens come from a slow disk; from memory a batch is made in some microseconds, and
            handing it from thread to thread costs more.

    Attributes:
        next_sample: The number of the first row, over all ranks, of the next batch.

    Raises:
        TypeError: A number is not an integer.
        ValueError: `batch_size` is not positive or not divided by `world_size`, or there is no
            such rank.

    Example:
        >>> import numpy as np
        >>> from tlm_data import Loader, SequentialWindows
        >>> loader = Loader(SequentialWindows(np.arange(7), context_length=3), batch_size=1)
        >>> for batch in loader:
        ...     print(batch.inputs.tolist(), batch.targets.tolist())
        [[0, 1, 2]] [[1, 2, 3]]
        [[3, 4, 5]] [[4, 5, 6]]
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        *,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world_size: int = 1,
        prefetch: bool = False,
    ) -> None:
        batch_size = whole_number("batch_size", batch_size, 1)
        world_size = whole_number("world_size", world_size, 1)
        rank = whole_number("rank", rank, 0)
        if batch_size % world_size:
            raise ValueError(
                f"batch_size={batch_size} must be a positive multiple of world_size={world_size}"
            )
        if rank >= world_size:
            raise ValueError(
                f"rank={rank} must lie between 0 and world_size - 1 = {world_size - 1}"
            )
        self.samples = samples
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.rank = rank
        self.world_size = world_size
        self.next_sample = 0
        self._prefetch = prefetch
        self._start()

    def _start(self) -> None:
        self._executor = ThreadPoolExecutor(1, "tlm-data-prefetch") if self._prefetch else None
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the thread, which stays where it is."""
        self._wait()
        return {k: v for k, v in self.__dict__.items() if k not in ("_executor", "_ahead")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start a thread here, if one is wanted."""
        self.__dict__.update(state)
        self._start()

    def __iter__(self) -> Iterator[Batch]:
        """Return the loader itself: iteration goes on from the next batch."""
        return self

    def __next__(self) -> Batch:
        """Return the next batch; samples with an end may leave the last one smaller."""
        numbers = self._numbers(self.next_sample)
        if not numbers:
            raise StopIteration
        batch = self._take_ahead(numbers) if self._executor else self._make(numbers)
        self.next_sample = numbers.stop
        return self._to_device(batch)

    def batch(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0, and leave the next one as it is.

        Raises:
            ValueError: The step is negative, or past the end.
        """
        step = whole_number("step", step, 0)
        numbers = self._numbers(step * self.batch_size)
        if not numbers:
            raise ValueError(
                f"step={step} is past the end: these are {self.samples.num_samples} samples in "
                f"batches of {self.batch_size}"
            )
        self._wait()
        return self._to_device(self._make(numbers))

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader is, as JSON; it is the same for all ranks."""
        self._wait()
        return {
            "next_sample": self.next_sample,
            "settings": self.samples.settings(),
            "cursor": self.samples.cursor(self.next_sample),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, with any number of ranks and any batch size.

        Raises:
            ValueError: The state is of other samples: another text, seed or context length; or
                it is no state. The loader then stays where it is.
        """
        keys = ("next_sample", "settings", "cursor")
        if not (isinstance(state, dict) and all(key in state for key in keys)):
            raise ValueError(f"state={state!r} must be of a loader's state_dict, with {keys}")
        _require_equal("", state["settings"], self.samples.settings())
        try:
            next_sample = whole_number("next_sample", state["next_sample"], 0)
            end = self.samples.num_samples
            if end is not None and next_sample > end:
                raise ValueError(
                    f"next_sample={next_sample} must be at most {end}, the samples' end"
                )
            self._wait()
            self.samples.seek(state["cursor"])
        except TypeError as error:  # a state is data: what is wrong in it is a wrong value
            raise ValueError(str(error)) from None
        self._ahead = None
        self.next_sample = next_sample

    def _numbers(self, first: int) -> range:
        """Return the numbers of a whole batch's rows."""
        stop, end = first + self.batch_size, self.samples.num_samples
        return range(first, stop if end is None else min(stop, end))

    def _make(self, numbers: range) -> Batch:
        count = len(numbers)
        first, stop = (count * part // self.world_size for part in (self.rank, self.rank + 1))
        return self.samples.rows(numbers[first:stop])

    def _to_device(self, batch: Batch) -> Batch:
        # Not in the thread, for which another device and stream are the current ones.
        return batch if self.device.type == "cpu" else batch.to(self.device)

    def _take_ahead(self, numbers: range) -> Batch:
        self._wait()
        ahead, self._ahead = self._ahead, None  # what went wrong is raised once
        if ahead is not None and ahead[0] == numbers.start:
            batch = ahead[1].result()
        else:
            batch = self._make(numbers)
        following = self._numbers(numbers.stop)
        if following:
            assert self._executor is not None
            self._ahead = following.start, self._executor.submit(self._make, following)
        return batch

    def _wait(self) -> None:
        """Let the thread end its work, since samples are used by one thread at a time."""
        if self._process != os.getpid():
            self._start()  # a fork left the thread behind
        if self._ahead is not None:
            self._ahead[1].exception()


def _require_equal(name: str, state: Any, own: Any) -> None:
    if isinstance(state, dict) and isinstance(own, dict) and state.keys() == own.keys():
        for key in own:
            _require_equal(f"{name}.{key}" if name else key, state[key], own[key])
    elif isinstance(state, list) and isinstance(own, list) and len(state) == len(own):
        for index, (theirs, ours) in enumerate(zip(state, own, strict=True)):
            _require_equal(f"{name}[{index}]", theirs, ours)
    elif state != own:
        raise ValueError(
            f"the state was saved with {name or 'settings'}={state!r}, but these samples have "
            f"{own!r}: load it into a loader of the same text and settings"
        )
