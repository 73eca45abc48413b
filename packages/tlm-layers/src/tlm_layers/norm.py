"""Normalisation of activations."""

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Root-mean-square norm: x / sqrt(mean(x²) + eps) · weight, over the last axis.

    Computed in float32 at least, since squares leave the range of half precision, and cast back.
    Follows Zhang and Sennrich 2019, https://arxiv.org/abs/1910.07467.

    Args:
        d_model: width of the last axis.
        eps: added to the mean square, inside the root.
        device: where the gain lives.
        dtype: type of the gain.

    Raises:
        ValueError: a width or an eps that is not positive.
    """

    def __init__(
        self,
        d_model: int,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if d_model < 1 or not eps > 0:
            raise ValueError(f"{d_model=} and {eps=} must be positive")
        self.d_model = d_model
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(d_model, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the gain to one."""
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis.

        Args:
            x: activations, (..., d_model).

        Returns:
            Activations, (..., d_model), of the type of `x`.
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # The gradient of vector_norm is one pass over x; that of square().mean() is three.
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square() / self.d_model
        return (wide * torch.rsqrt(mean_square + self.eps) * self.weight).to(x.dtype)

    def extra_repr(self) -> str:
        """The width and eps, for `print(model)`."""
        return f"d_model={self.d_model}, eps={self.eps}"
