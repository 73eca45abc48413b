"""Reading many windows of tokens at once."""

import hashlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.stride_tricks import sliding_window_view

from tlm_data.integers import whole_number
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

    def __init__(self, tokens: Tokens, width: int, at_random: bool = False) -> None:
        self._arguments = tokens, width, at_random
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what it reads from; the windows overlap, and as an array are far larger."""
        return WindowReader, self._arguments

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

    Raises:
        ValueError: An id is too large for int64.
    """
    if windows.dtype == np.uint64 and windows.size and windows.max() >> np.uint64(63):
        raise ValueError(f"token id {windows.max()} is too large: ids must be below 2**63")
    return (
        torch.from_numpy(windows[:, :-1].astype(np.int64)),
        torch.from_numpy(windows[:, 1:].astype(np.int64)),
    )


def require_length(tokens: Tokens, least: int) -> int:
    """Return the number of tokens.

    Raises:
        ValueError: They are fewer than `least`, or no whole numbers in one dimension.
    """
    if not isinstance(tokens, TokenStore):
        array = np.asarray(tokens)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"tokens of shape {array.shape} and dtype {array.dtype} must be whole numbers in "
                "one dimension"
            )
    if len(tokens) < least:
        raise ValueError(
            f"the corpus has {len(tokens)} tokens, at least {least} are needed: add text"
        )
    return len(tokens)


def require_windows(tokens: Tokens, context_length: int) -> tuple[int, int]:
    """Return the number of tokens and `context_length`, an int.

    Raises:
        ValueError: A window and its last target are longer than the text, or a value is none.
    """
    context_length = whole_number("context_length", context_length, 1)
    num_tokens = require_length(tokens, 0)
    if num_tokens < context_length + 1:
        raise ValueError(
            f"the corpus has {num_tokens} tokens, but context_length={context_length} needs at "
            f"least {context_length + 1}: add text or lower context_length"
        )
    return num_tokens, context_length


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
