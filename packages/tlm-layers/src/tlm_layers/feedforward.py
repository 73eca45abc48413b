"""The position-wise feed-forward."""

import torch
from torch import Tensor, nn

from tlm_layers.activations import silu
from tlm_layers.config import default_d_ff
from tlm_layers.linear import Linear


class SwiGLU(nn.Module):
    """Gated feed-forward: W2 (SiLU(W1 x) ⊙ W3 x).

    Follows Shazeer 2020, https://arxiv.org/abs/2002.05202.

    Args:
        d_model: width of the input and the output.
        d_ff: inner width; None: `default_d_ff(d_model)`.
        device: where the weights live.
        dtype: type of the weights.
    """

    def __init__(
        self,
        d_model: int,
        d_ff: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_ff is None:
            d_ff = default_d_ff(d_model)
        self.w1 = Linear(d_model, d_ff, device=device, dtype=dtype)
        self.w2 = Linear(d_ff, d_model, device=device, dtype=dtype)
        self.w3 = Linear(d_model, d_ff, device=device, dtype=dtype)

    def reset_parameters(self) -> None:
        """Draw the weights afresh."""
        self.w1.reset_parameters()
        self.w2.reset_parameters()
        self.w3.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map each position by itself.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model).
        """
        out: Tensor = self.w2(silu(self.w1(x)) * self.w3(x))
        return out
