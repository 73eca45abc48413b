"""Reading many windows of tokens at once."""

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tlm_data.read_ahead import expect_random_reads
from tlm_data.token_store import TokenStore

Array: TypeAlias = npt.NDArray[Any]
Tokens: TypeAlias = Array | TokenStore
"""What batches are cut from: token ids in a numpy array or memmap, (n,), or a store."""

_FINGERPRINT_TOKENS = 4096


class WindowReader:
    """Reads windows of one width from anywhere in a sequence of tokens.

    Args:
        tokens: Token ids, (n,).
        width: Tokens in a window, at most n.
        at_random: Whether windows come from anywhere for long.
    """

    def __init__(self, tokens: Tokens, width: int, *, at_random: bool = False) -> None:
        self._width = width
        if isinstance(tokens, TokenStore):
            self._shards = [np.asarray(shard) for shard in tokens.shards]
            self._starts = np.array(tokens.starts)
        else:
            self._shards = [np.asarray(tokens)]
            self._starts = np.array([0, len(tokens)])
        if at_random:
            expect_random_reads(self._shards)
        # All windows of one array as a matrix, from which numpy takes many rows in one call.
        whole = len(self._shards) == 1
        self._windows = sliding_window_view(self._shards[0], width) if whole else None

    def __call__(self, starts: npt.NDArray[np.int64]) -> Array:
        """Return the windows that start at each of `starts`, (len(starts), width)."""
        if self._windows is not None:
            windows: Array = self._windows[starts]
            return windows
        windows = np.empty((len(starts), self._width), self._shards[0].dtype)
        numbers = self._starts.searchsorted(starts, side="right") - 1
        places = starts - self._starts[numbers]
        for window, number, place in zip(windows, numbers.tolist(), places.tolist(), strict=True):
            part = self._shards[number][place : place + self._width]
            if len(part) < self._width:
                part = np.concatenate([part, *self._next_shards(number + 1, len(part))])
            window[:] = part
        return windows

    def _next_shards(self, number: int, filled: int) -> list[Array]:
        parts: list[Array] = []
        while filled < self._width:
            parts.append(self._shards[number][: self._width - filled])
            filled += len(parts[-1])
            number += 1
        return parts


def inputs_and_targets(windows: Array) -> tuple[torch.Tensor, torch.Tensor]:
    """Return all but the last, and all but the first token of windows.

    Args:
        windows: Token ids, (batch, context_length + 1), any integer dtype.

    Returns:
        Two tensors of their own, int64, (batch, context_length).
    """
    return (
        torch.from_numpy(windows[:, :-1].astype(np.int64)),
        torch.from_numpy(windows[:, 1:].astype(np.int64)),
    )


def require_length(tokens: Tokens, context_length: int) -> int:
    """Return the number of tokens.

    Raises:
        ValueError: They are fewer than `context_length + 1`, or that is not positive.
    """
    if context_length < 1:
        raise ValueError(f"context_length={context_length} must be at least 1")
    if len(tokens) < context_length + 1:
        raise ValueError(
            f"the corpus has {len(tokens)} tokens, but context_length={context_length} needs at "
            f"least {context_length + 1}: add text or lower context_length"
        )
    return len(tokens)


def fingerprint(tokens: Tokens) -> str:
    """Return what tells sequences of tokens apart.

    A store's own fingerprint covers every token. That of an array covers its length and the
    first and last 4096 tokens, so that a large memmap is not read.
    """
    if isinstance(tokens, TokenStore):
        return tokens.fingerprint
    digest = hashlib.sha256(str(len(tokens)).encode())
    for part in (tokens[:_FINGERPRINT_TOKENS], tokens[-_FINGERPRINT_TOKENS:]):
        digest.update(np.asarray(part).astype("<i8").tobytes())
    return digest.hexdigest()
