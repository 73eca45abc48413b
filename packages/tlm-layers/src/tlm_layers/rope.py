"""Rotary position embedding."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RotaryPositionalEmbedding(nn.Module):
    """RoPE: turn each pair of neighbouring features by an angle that grows with the position.

    The pair (x₂ₖ, x₂ₖ₊₁) at position i is turned by i · theta^(−2k / d_k), so that the dot product
    of a query and a key depends on their distance alone. Follows Su et al. 2021,
    https://arxiv.org/abs/2104.09864. (Hugging Face's Llama pairs xₖ with xₖ₊d_k/2 instead: the
    same map with the features in another order.) A pair is taken as one complex number, and the
    turn as a multiplication by cos + i sin, in float32 at least.

    The table of cosines and sines is float32 and not in the state dict. (`.to(torch.bfloat16)`
    rounds it with the rest of a model; building the model with `dtype=torch.bfloat16` does not.)

    Args:
        theta: base of the angles.
        d_k: width of a query or key; even.
        max_seq_len: number of positions in the table.
        device: where the table lives.

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
    ) -> None:
        super().__init__()
        if not theta > 0 or max_seq_len < 1:
            raise ValueError(f"{theta=} and {max_seq_len=} must be positive")
        if d_k < 1 or d_k % 2:
            raise ValueError(f"{d_k=} must be positive and even: features turn in pairs")
        self.theta = theta
        self.d_k = d_k
        self.max_seq_len = max_seq_len
        table = torch.empty((max_seq_len, d_k), device=device, dtype=torch.float32)
        self.register_buffer("table", table, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fill the table."""
        device = self.table.device
        positions = torch.arange(self.max_seq_len, device=device, dtype=torch.float32)
        exponents = torch.arange(0, self.d_k, 2, device=device, dtype=torch.float32) / self.d_k
        angles = torch.outer(positions, self.theta**-exponents)
        # (max_seq_len, d_k / 2, 2) -> (max_seq_len, d_k): cos and sin alternate
        self.table.copy_(torch.stack((angles.cos(), angles.sin()), dim=-1).flatten(-2))

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Turn queries or keys by their positions.

        Args:
            x: queries or keys, (..., seq, d_k).
            token_positions: int32 or int64, (..., seq), broadcast against the leading axes of
                `x`; None: 0, 1, …, seq − 1.

        Returns:
            The turned `x`, (..., seq, d_k), of its type.

        Raises:
            ValueError: a position outside the table (given positions are checked on the CPU
                only, where it is free).
        """
        if token_positions is None:
            seq = x.shape[-2]
            if seq > self.max_seq_len:
                raise ValueError(
                    f"a sequence of {seq} is longer than max_seq_len={self.max_seq_len}"
                )
            turns = self.table[:seq]
        else:
            try:
                turns = F.embedding(token_positions, self.table)
            except IndexError:
                raise ValueError(
                    f"token_positions go from {int(token_positions.min())} to "
                    f"{int(token_positions.max())}; they must be from 0 to "
                    f"{self.max_seq_len - 1} (max_seq_len={self.max_seq_len})"
                ) from None
        turned = torch.view_as_real(_as_complex(x) * _as_complex(turns))
        return turned.flatten(-2).to(x.dtype)  # (..., seq, d_k / 2, 2) -> (..., seq, d_k)

    def extra_repr(self) -> str:
        """The constants, for `print(model)`."""
        return f"theta={self.theta}, d_k={self.d_k}, max_seq_len={self.max_seq_len}"


def _as_complex(pairs: Tensor) -> Tensor:
    # (..., 2k) -> (..., k): neighbours become real and imaginary part, float32 at least
    pairs = pairs.to(torch.promote_types(pairs.dtype, torch.float32))
    return torch.view_as_complex(pairs.reshape(*pairs.shape[:-1], -1, 2))
