"""Rotary position embedding."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Llama3Scaling:
    """Slower rotations for a context longer than that of training, as Llama 3.1 has them.

    A pair that makes fewer than `low_freq_factor` turns over the original context is slowed
    `factor` times, one that makes more than `high_freq_factor` keeps its speed, and between them
    the two are mixed in proportion. Follows Dubey et al. 2024, https://arxiv.org/abs/2407.21783,
    section 3.4.3, with the constants of its published models.

    Raises:
        ValueError: a value that is not positive, or a low factor that is not below the high one.
    """

    factor: float = 8.0
    """How many times slower the slowest pairs turn."""

    low_freq_factor: float = 1.0
    """Turns over the original context below which a pair is slowed in full."""

    high_freq_factor: float = 4.0
    """Turns over the original context above which a pair is left alone."""

    original_context: int = 8192
    """The context of the training before the scaling, in tokens."""

    def __post_init__(self) -> None:
        """Refuse constants that mean nothing."""
        if not (self.factor > 0 and self.original_context > 0):
            raise ValueError(
                f"factor={self.factor} and original_context={self.original_context} must both be "
                f"positive"
            )
        if not 0 < self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"low_freq_factor={self.low_freq_factor} must lie between 0 and "
                f"high_freq_factor={self.high_freq_factor}"
            )

    def __call__(self, frequencies: Tensor) -> Tensor:
        """Scale.

        Args:
            frequencies: radians a token, (d_k / 2,).

        Returns:
            Radians a token, (d_k / 2,).
        """
        turns = self.original_context * frequencies / (2 * math.pi)
        low, high = self.low_freq_factor, self.high_freq_factor
        kept = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slowed in full, 1: left alone
        return frequencies * (kept + (1 - kept) / self.factor)


class RotaryPositionalEmbedding(nn.Module):
    """RoPE: turn each pair of neighbouring features by an angle that grows with the position.

    The pair (x₂ₖ, x₂ₖ₊₁) at position i is turned by i · theta^(−2k / d_k), so that the dot product
    of a query and a key depends on their distance alone. Follows Su et al. 2021,
    https://arxiv.org/abs/2104.09864. (Hugging Face's Llama pairs xₖ with xₖ₊d_k/2 instead: the
    same map with the features in another order.) A pair is one complex number, and the turn a
    multiplication by cos + i sin, in float32 at least.

    The table of cosines and sines is always float32 and not in the state dict: it follows a model
    to another device, but not to another dtype.

    Args:
        theta: base of the angles.
        d_k: width of a query or key; even.
        max_seq_len: number of positions in the table.
        device: where the table lives.
        scaling: changes the speeds, for long contexts; None: as above.

    Raises:
        ValueError: a value that is not positive, or an odd `d_k`.
    """

    table: Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: torch.device | str | None = None,
        scaling: Llama3Scaling | None = None,
    ) -> None:
        super().__init__()
        if not theta > 0 or max_seq_len < 1:
            raise ValueError(f"{theta=} and {max_seq_len=} must be positive")
        if d_k < 1 or d_k % 2:
            raise ValueError(f"{d_k=} must be positive and even: features turn in pairs")
        self.theta = theta
        self.d_k = d_k
        self.max_seq_len = max_seq_len
        self.scaling = scaling
        self.register_buffer("table", self._table_on(device), persistent=False)

    def reset_parameters(self) -> None:
        """Fill the table."""
        self.table = self._table_on(self.table.device)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> "RotaryPositionalEmbedding":
        # `.to(torch.bfloat16)` would round the table, and `.to_empty()` leave it unfilled. Blocks
        # share it: only the first of them has something to do.
        device = fn(self.table[:0]).device
        if device != self.table.device:
            self.table = self._table_on(device)
        return self

    @torch.inference_mode(False)  # the backward pass refuses a table made under inference
    def _table_on(self, device: torch.device | str | None) -> Tensor:
        positions = torch.arange(self.max_seq_len, device=device, dtype=torch.float32)
        exponents = torch.arange(0, self.d_k, 2, device=device, dtype=torch.float32) / self.d_k
        frequencies = self.theta**-exponents
        if self.scaling is not None:
            frequencies = self.scaling(frequencies)
        angles = torch.outer(positions, frequencies)
        # (max_seq_len, d_k / 2, 2) -> (max_seq_len, d_k): cos and sin alternate
        return torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(-2)

    def forward(self, x: Tensor, token_positions: Tensor | int | None = None) -> Tensor:
        """Turn queries or keys by their positions.

        Args:
            x: queries or keys, (..., seq, d_k).
            token_positions: int32 or int64, (..., seq), broadcast against the leading axes of
                `x`; a number: from there on; None: 0, 1, …, seq − 1. Positions of (batch, seq) for
                an `x` of (batch, heads, seq, d_k) need an axis for the heads:
                `token_positions.unsqueeze(-2)`.

        Returns:
            The turned `x`, (..., seq, d_k), of its type.

        Raises:
            TypeError: positions that are neither int32 nor int64.
            ValueError: an `x` of another width, positions of another length, or a position
                outside the table (given positions are checked on the CPU only, where it is free).
        """
        if x.ndim < 2 or x.shape[-1] != self.d_k:
            raise ValueError(f"x of shape {tuple(x.shape)} must be (..., seq, d_k={self.d_k})")
        seq = x.shape[-2]
        if self.table.device != x.device:  # weights loaded into a meta model leave it behind
            self.table = self._table_on(x.device)
        if token_positions is None or isinstance(token_positions, int):
            start = token_positions or 0
            if start < 0 or start + seq > self.max_seq_len:
                raise ValueError(
                    f"a sequence of {seq} from position {start} on is not within "
                    f"max_seq_len={self.max_seq_len}"
                    if start
                    else f"a sequence of {seq} is longer than max_seq_len={self.max_seq_len}"
                )
            turns = self.table[start : start + seq]
        else:
            if token_positions.dtype not in (torch.int32, torch.int64):
                raise TypeError(
                    f"token_positions are {token_positions.dtype}; they must be int32 or int64"
                )
            if token_positions.shape[-1:] != (seq,):
                raise ValueError(
                    f"token_positions of shape {tuple(token_positions.shape)} must end in the "
                    f"seq={seq} of x, one position for each token"
                )
            try:
                turns = F.embedding(token_positions, self.table)
            except IndexError:
                raise ValueError(
                    f"token_positions go from {int(token_positions.min())} to "
                    f"{int(token_positions.max())}; they must be from 0 to "
                    f"{self.max_seq_len - 1} (max_seq_len={self.max_seq_len})"
                ) from None
        return _turn(x.to(torch.promote_types(x.dtype, torch.float32)), turns).to(x.dtype)

    def extra_repr(self) -> str:
        """The constants, for `print(model)`."""
        scaling = f", scaling={self.scaling}" if self.scaling else ""
        return f"theta={self.theta}, d_k={self.d_k}, max_seq_len={self.max_seq_len}{scaling}"


def _turn(x: Tensor, turns: Tensor) -> Tensor:
    # (..., 2k) -> (..., k, 2): neighbours become the real and imaginary part
    pairs = x.view(*x.shape[:-1], x.shape[-1] // 2, 2)
    turns = turns.view(*turns.shape[:-1], turns.shape[-1] // 2, 2)
    if torch.compiler.is_compiling() or not _fits_complex(pairs):
        (a, b), (cos, sin) = pairs.unbind(-1), turns.unbind(-1)
        turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1)
    else:  # the same in a quarter of the time
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turns))
    return turned.flatten(-2)


def _fits_complex(pairs: Tensor) -> bool:
    # A complex number lies in one piece at an even place.
    *strides, step = pairs.stride()
    return step == 1 and not any(s % 2 for s in (*strides, pairs.storage_offset()))
