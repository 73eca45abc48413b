"""Windows of tokens: at random, each once an epoch, or one after the other."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tlm_data.gather import (
    Tokens,
    WindowReader,
    fingerprint,
    inputs_and_targets,
    require_length,
    require_windows,
)
from tlm_data.hashing import hash64, stream_key
from tlm_data.integers import whole_number
from tlm_data.permutation import permute
from tlm_data.samples import IGNORE, Batch, Samples, require_range

Int64s = npt.NDArray[np.int64]

_AHEAD = 4096
_MOST_BETWEEN = 512


def get_batch(
    tokens: Tokens,
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    rng: np.random.Generator | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut random windows from a sequence of tokens, as the CS336 course defines it.

    Starts are uniform over 0..n-context_length-1, drawn with replacement, so that every window
    has a target for its last token.

    Args:
        tokens: Token ids, (n,), any integer dtype; only the windows are read.
        batch_size: Number of windows.
        context_length: Tokens in a window.
        device: Where the batch goes.
        rng: Source of randomness; numpy's global one when None.

    Returns:
        `(x, y)`, int64, each (batch_size, context_length), with `y` one token later.

    Raises:
        ValueError: `tokens` is shorter than context_length + 1 or no line of whole numbers, or a
            size is not positive.
    """
    batch_size = whole_number("batch_size", batch_size, 1)
    num_tokens, context_length = require_windows(tokens, context_length)
    starts_end = num_tokens - context_length
    if rng is None:
        starts = np.random.randint(0, starts_end, size=batch_size)
    else:
        starts = rng.integers(0, starts_end, size=batch_size)
    batch = Batch(*inputs_and_targets(WindowReader(tokens, context_length + 1)(starts)))
    batch = batch.to(device)
    return batch.inputs, batch.targets


class _SeededWindows(Samples):
    """Full windows whose starts are computed from their numbers and a seed; without end.

    Args:
        tokens: Token ids, (n,).
        context_length: Tokens in a window.
        seed: Fixes all windows; not negative.

    Raises:
        ValueError: `tokens` is shorter than context_length + 1.
    """

    _name: str

    def __init__(self, tokens: Tokens, context_length: int, *, seed: int) -> None:
        self._num_tokens, self.context_length = require_windows(tokens, context_length)
        self.tokens = tokens
        self.seed = whole_number("seed", seed, 0)
        self._read = WindowReader(tokens, self.context_length + 1, at_random=True)
        self._starts = _Ahead(self._compute_starts)

    @abstractmethod
    def _compute_starts(self, numbers: Int64s) -> Int64s:
        """Return where windows start, of consecutive numbers."""

    def settings(self) -> dict[str, Any]:
        """Return what the windows depend on."""
        return {
            "samples": self._name,
            "tokens": fingerprint(self.tokens),
            "context_length": self.context_length,
            "seed": self.seed,
        }

    def rows(self, numbers: range) -> Batch:
        """Return windows by their numbers."""
        return Batch(*inputs_and_targets(self._read(self._starts(numbers))))


class RandomWindows(_SeededWindows):
    """Windows that start anywhere, drawn with replacement; without end.

    Args:
        tokens: Token ids, (n,).
        context_length: Tokens in a window.
        seed: Fixes all windows; not negative.

    Raises:
        ValueError: `tokens` is shorter than context_length + 1.
    """

    _name = "random windows"

    def __init__(self, tokens: Tokens, context_length: int, *, seed: int) -> None:
        super().__init__(tokens, context_length, seed=seed)
        self._num_starts = np.uint64(self._num_tokens - self.context_length)
        self._key = stream_key(self.seed)

    def _compute_starts(self, numbers: Int64s) -> Int64s:
        # The remainder favours some starts by n / 2**64 at most, which no run is long enough for.
        starts: Int64s = (hash64(self._key, numbers) % self._num_starts).astype(np.int64)
        return starts


class EpochWindows(_SeededWindows):
    """Windows side by side, each once an epoch, in another random order each epoch; without end.

    Epoch e has the windows from e * epoch_samples on. Their order is computed, so that neither
    time to the first row nor memory grows with the text. Where windows do not fill the text, they
    start a little later by chance each epoch, so that the tail has its turn.

    Args:
        tokens: Token ids, (n,).
        context_length: Tokens in a window.
        seed: Fixes the orders; not negative.

    Attributes:
        epoch_samples: Windows in an epoch, (n - 1) // context_length.

    Raises:
        ValueError: `tokens` is shorter than context_length + 1.
    """

    _name = "epochs of windows"

    def __init__(self, tokens: Tokens, context_length: int, *, seed: int) -> None:
        super().__init__(tokens, context_length, seed=seed)
        self.epoch_samples, self._remainder = divmod(self._num_tokens - 1, self.context_length)
        self._order_key, self._shift_key = stream_key(self.seed, 0), stream_key(self.seed, 1)

    def _compute_starts(self, numbers: Int64s) -> Int64s:
        epochs, places = np.divmod(numbers, self.epoch_samples)
        if epochs[0] == epochs[-1]:
            epochs = epochs[:1]
        windows = permute(places, self.epoch_samples, hash64(self._order_key, epochs))
        shifts = hash64(self._shift_key, epochs) % np.uint64(self._remainder + 1)
        starts: Int64s = windows * self.context_length + shifts.astype(np.int64)
        return starts


class SequentialWindows(Samples):
    """Windows that do not overlap, in order and with an end, for evaluation.

    Every token but the first is a target exactly once, the tail included, whose row is padded
    with targets of `IGNORE`. So a text that is shorter than a context is scored too.

    Args:
        tokens: Token ids, (n,).
        context_length: Tokens in a window.
        max_windows: Take only so many full windows, spread evenly over the sequence.

    Raises:
        ValueError: There are fewer than two tokens, or a size is not positive.
    """

    num_samples: int

    def __init__(
        self, tokens: Tokens, context_length: int, *, max_windows: int | None = None
    ) -> None:
        self.tokens = tokens
        self.context_length = context_length = whole_number("context_length", context_length, 1)
        self._num_full, self._tail = divmod(require_length(tokens, 2) - 1, context_length)
        self.num_samples = self._num_full + (self._tail > 0)
        if max_windows is not None:
            max_windows = whole_number("max_windows", max_windows, 1)
            if max_windows < self._num_full:
                self._tail = 0
                self.num_samples = max_windows
        self._read = WindowReader(tokens, context_length + 1) if self._num_full else None

    def settings(self) -> dict[str, Any]:
        """Return what the windows depend on."""
        return {
            "samples": "windows in order",
            "tokens": fingerprint(self.tokens),
            "context_length": self.context_length,
            "num_samples": self.num_samples,
        }

    def rows(self, numbers: range) -> Batch:
        """Return windows by their numbers."""
        require_range(numbers, self.num_samples)
        has_tail = self._tail > 0 and numbers.stop == self.num_samples and len(numbers) > 0
        windows = np.arange(numbers.start, numbers.stop - has_tail, dtype=np.int64)
        if not self._tail:
            windows = windows * self._num_full // self.num_samples
        parts = []
        if self._read is not None:
            parts.append(inputs_and_targets(self._read(windows * self.context_length)))
        if has_tail:
            parts.append(self._tail_row())
        if not parts:  # no numbers, of a text shorter than a context
            return Batch(*torch.empty(2, 0, self.context_length, dtype=torch.int64).unbind())
        return Batch(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def _tail_row(self) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.zeros(1, self.context_length, dtype=torch.int64)
        targets = torch.full_like(inputs, IGNORE)
        tail = np.asarray(self.tokens[len(self.tokens) - 1 - self._tail : len(self.tokens)])
        x, y = inputs_and_targets(tail[None])
        inputs[:, : self._tail], targets[:, : self._tail] = x, y
        return inputs, targets


class _Ahead:
    """A function of sample numbers, computed for many at once where they are asked for in turn.

    In turn are a rank's numbers, too, with those of the other ranks between: as long as these are
    not too many, more calls would cost more than what is computed in vain.
    """

    def __init__(self, function: Callable[[Int64s], Int64s]) -> None:
        self._function = function
        self._block = -_AHEAD, np.empty(0, np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without what was computed."""
        return _Ahead, (self._function,)

    def __call__(self, numbers: range) -> Int64s:
        start, values = self._block  # one read: another thread may put a new one
        if numbers.step != 1 or not 0 <= numbers.start - start <= len(values) - len(numbers):
            require_range(numbers)
            if not numbers:
                return np.empty(0, np.int64)
            in_turn = 0 < numbers.start - start <= len(values) + _MOST_BETWEEN
            count = max(len(numbers), _AHEAD if in_turn else 0)
            start = numbers.start
            values = self._function(np.arange(start, start + count, dtype=np.int64))
            self._block = start, values
        first = numbers.start - start
        return values[first : first + len(numbers)]
