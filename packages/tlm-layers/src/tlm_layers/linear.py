"""The linear map."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlm_layers.initialize import truncated_normal_


class Linear(nn.Module):
    """A linear map without bias: y = x Wᵀ.

    The weight starts as a normal of variance 2 / (in_features + out_features) (Glorot and Bengio
    2010, https://proceedings.mlr.press/v9/glorot10a.html), cut at three standard deviations.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        device: where the weight lives.
        dtype: type of the weight.

    Raises:
        ValueError: a width that is not positive.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"{in_features=} and {out_features=} must be positive")
        self.in_features = in_features
        self.out_features = out_features
        self.weight = nn.Parameter(
            torch.empty((out_features, in_features), device=device, dtype=dtype)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight afresh."""
        std = math.sqrt(2 / (self.in_features + self.out_features))
        truncated_normal_(self.weight, std)

    def forward(self, x: Tensor) -> Tensor:
        """Map the last axis.

        Args:
            x: activations, (..., in_features).

        Returns:
            Activations, (..., out_features).
        """
        return F.linear(x, self.weight)

    def extra_repr(self) -> str:
        """The widths, for `print(model)`."""
        return f"in_features={self.in_features}, out_features={self.out_features}"
