"""From token files to batches of inputs and targets."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

Array = npt.NDArray[Any]


class TokenSequence(Protocol):
    """What batches are cut from: a numpy array or memmap of ids, or a `TokenStore`."""

    def __len__(self) -> int:
        """Return the number of tokens."""

    def __getitem__(self, key: slice, /) -> Array:
        """Return the tokens of a slice."""


Batch = tuple[torch.Tensor, torch.Tensor]
"""Inputs and targets, each int64 (batch_size, context_length); targets are one token later."""


def get_batch(
    tokens: TokenSequence,
    batch_size: int,
    context_length: int,
    device: str | torch.device = "cpu",
    rng: np.random.Generator | None = None,
) -> Batch:
    """Cut random windows from a token sequence, as the CS336 course defines it.

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
        ValueError: `tokens` is shorter than context_length + 1.
    """
    starts_end = _check_length(tokens, context_length) - context_length
    if rng is None:
        starts = np.random.randint(0, starts_end, size=batch_size)
    else:
        starts = rng.integers(0, starts_end, size=batch_size)
    return _cut(tokens, starts, context_length, device)


class RandomBatches:
    """Random windows, where the batch of a step is a pure function of (seed, step).

    So a run that stops and resumes at a step sees what it would have seen.

    Args:
        tokens: Token ids, (n,).
        batch_size: Windows in a batch.
        context_length: Tokens in a window.
        seed: Fixes all batches.
        device: Where batches go.

    Raises:
        ValueError: `tokens` is shorter than context_length + 1.
    """

    def __init__(
        self,
        tokens: TokenSequence,
        batch_size: int,
        context_length: int,
        *,
        seed: int,
        device: str | torch.device = "cpu",
    ) -> None:
        _check_length(tokens, context_length)
        self.tokens = tokens
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self.device = device

    def batch(self, step: int) -> Batch:
        """Return the batch of `step`: `(x, y)`, int64, (batch_size, context_length)."""
        if step < 0:
            raise ValueError(f"step={step} must not be negative")
        rng = np.random.default_rng([self.seed, step])
        return get_batch(self.tokens, self.batch_size, self.context_length, self.device, rng)


def sequential_batches(
    tokens: TokenSequence,
    batch_size: int,
    context_length: int,
    *,
    max_windows: int | None = None,
    device: str | torch.device = "cpu",
) -> Iterator[Batch]:
    """Cut a token sequence into windows that do not overlap, for evaluation.

    Every token but the first is a target exactly once, the tail included: the last batch holds
    one shorter window where the length does not come out even. So a text that is shorter than a
    context is scored too.

    Args:
        tokens: Token ids, (n,).
        batch_size: Most windows in a batch.
        context_length: Tokens in a window.
        max_windows: Take only so many full windows, spread evenly over the sequence.
        device: Where batches go.

    Yields:
        `(x, y)`, int64, (up to batch_size, context_length).

    Raises:
        ValueError: There are fewer than two tokens.
    """
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens are too few to evaluate on: at least 2 are needed")
    num_windows, tail = divmod(len(tokens) - 1, context_length)
    starts = np.arange(num_windows) * context_length
    if max_windows is not None and max_windows < num_windows:
        starts = starts[np.arange(max_windows) * num_windows // max_windows]
        tail = 0
    for first in range(0, len(starts), batch_size):
        yield _cut(tokens, starts[first : first + batch_size], context_length, device)
    if tail:
        yield _cut(tokens, np.array([num_windows * context_length]), tail, device)


def _check_length(tokens: TokenSequence, context_length: int) -> int:
    if context_length < 1:
        raise ValueError(f"context_length={context_length} must be at least 1")
    if len(tokens) < context_length + 1:
        raise ValueError(
            f"the corpus has {len(tokens)} tokens, but context_length={context_length} needs at "
            f"least {context_length + 1}: add text or lower context_length"
        )
    return len(tokens)


def _cut(tokens: TokenSequence, starts: Array, length: int, device: str | torch.device) -> Batch:
    windows = np.stack([tokens[start : start + length + 1] for start in starts.tolist()])
    batch = torch.from_numpy(windows.astype(np.int64)).to(device)
    return batch[:, :-1], batch[:, 1:]
