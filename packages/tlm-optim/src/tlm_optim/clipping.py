"""Limits on gradients."""

from collections.abc import Iterable

import torch
from torch import Tensor

from tlm_optim.layout import refuse_sparse


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor], max_norm: float, eps: float = 1e-6
) -> Tensor:
    """Scale all gradients down together, in place, where their joint length is above a limit.

    The length is the L2 norm of all gradients as one vector; above `max_norm` each gradient is
    multiplied by max_norm / (norm + eps). Follows Pascanu et al. 2012,
    https://arxiv.org/abs/1211.5063. Nothing waits for the device.

    Args:
        parameters: a parameter or several, on one device; those with no gradient are passed over.
        max_norm: the greatest length allowed.
        eps: keeps the division finite.

    Returns:
        The norm before clipping, a scalar; 0 where there is no gradient.

    Raises:
        ValueError: `max_norm` or `eps` is negative.
        TypeError: a sparse gradient.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> weight.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_norm([weight], max_norm=1.0)
        tensor(5.)
        >>> weight.grad
        tensor([0.6000, 0.8000])
    """
    if not max_norm >= 0 or not eps >= 0:
        raise ValueError(f"{max_norm=} and {eps=} must not be negative")
    if isinstance(parameters, Tensor):
        parameters = [parameters]
    grads = [
        refuse_sparse(parameter.grad, "clip_grad_norm")
        for parameter in parameters
        if parameter.grad is not None
    ]
    if not grads:
        return torch.tensor(0.0)
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    # No `if`: reading the norm would make the host wait for a GPU.
    scale = torch.where(norm > max_norm, max_norm / (norm + eps), 1.0)
    torch._foreach_mul_(grads, scale)
    return norm
