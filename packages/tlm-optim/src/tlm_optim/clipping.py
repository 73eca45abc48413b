"""Limits on gradients."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tlm_optim.layout import is_distributed, local, refuse_sparse
from tlm_optim.rounding import wide_dtype


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    *,
    eps: float = 1e-6,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale all gradients down together, in place, where their joint length is above a limit.

    The length is the L2 norm of all gradients as one vector; above `max_norm` each gradient is
    multiplied by max_norm / (norm + eps). Follows Pascanu et al. 2012,
    https://arxiv.org/abs/1211.5063. Of a `DTensor` all processes' shards are counted. Nothing
    waits for the device, unless `error_if_nonfinite` asks to look.

    Args:
        parameters: a parameter or several; those with no gradient are passed over.
        max_norm: the greatest length allowed.
        eps: keeps the division finite.
        error_if_nonfinite: whether to raise where the norm is infinite or not a number. Otherwise
            it is returned, and the gradients are spoilt as torch spoils them: where it is not a
            number, none of them is one; where it is infinite, infinite ones are no numbers and
            all others 0.

    Returns:
        The norm before clipping, a scalar, of float32 for gradients of half types, the same in
        each process; 0 where there is no gradient.

    Raises:
        ValueError: `max_norm` or `eps` is negative.
        TypeError: a sparse gradient.
        RuntimeError: as `error_if_nonfinite` asks; no gradient is changed.

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
    grads = _gradients(parameters, "clip_grad_norm")
    norm = _joint_norm(grads)
    if error_if_nonfinite and not norm.isfinite():
        raise RuntimeError(
            f"the norm of the gradients is {norm.item()}, which cannot be clipped: skip the step, "
            f"or leave error_if_nonfinite=False"
        )
    # No `if`: reading the norm would make the host wait for a GPU.
    scale = torch.where(norm <= max_norm, 1.0, max_norm / (norm + eps))
    for device, parts in _by_device([local(grad) for grad in grads]).items():
        torch._foreach_mul_(parts, scale.to(device, non_blocking=True))
    return norm


def grad_norm(parameters: Tensor | Iterable[Tensor]) -> Tensor:
    """Return the joint L2 norm of all gradients, and change nothing.

    Args:
        parameters: a parameter or several; those with no gradient are passed over.

    Returns:
        A scalar, as `clip_grad_norm` returns it.

    Raises:
        TypeError: a sparse gradient.
    """
    return _joint_norm(_gradients(parameters, "grad_norm"))


def _gradients(parameters: Tensor | Iterable[Tensor], taker: str) -> list[Tensor]:
    return [
        refuse_sparse(parameter.grad, taker)
        for parameter in ([parameters] if isinstance(parameters, Tensor) else parameters)
        if parameter.grad is not None
    ]


def _by_device(tensors: list[Tensor]) -> dict[torch.device, list[Tensor]]:
    devices: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        devices.setdefault(tensor.device, []).append(tensor)
    return devices


def _joint_norm(grads: list[Tensor]) -> Tensor:
    if not grads:
        return torch.tensor(0.0)
    whole = [grad for grad in grads if not is_distributed(grad)]
    norms = [norm for alike in _by_device(whole).values() for norm in _norms(alike)]
    spread: dict[Any, list[Tensor]] = {}
    for grad in grads:
        if is_distributed(grad):
            spread.setdefault((grad.device_mesh, grad.placements), []).append(grad)
    norms += [_norm_over_processes(alike) for alike in spread.values()]
    device = norms[0].device
    return _length(torch.stack([norm.to(device, non_blocking=True) for norm in norms]))


def _norms(grads: list[Tensor]) -> Sequence[Tensor]:
    # In float32 for half types: their squares overflow, or have few digits.
    dtypes = [wide_dtype(grad.dtype) for grad in grads]
    return torch._foreach_norm(grads, 2, max(dtypes, key=lambda dtype: dtype.itemsize))


def _length(vector: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vector)
    return length


def _norm_over_processes(grads: list[Any]) -> Tensor:
    """Return the joint norm of `DTensor`s that are spread in one way, with one exchange."""
    from torch.distributed.tensor import Partial, Replicate

    if any(placement.is_partial() for placement in grads[0].placements):
        whole = [Replicate() if p.is_partial() else p for p in grads[0].placements]
        grads = [grad.redistribute(placements=whole) for grad in grads]
    square = _length(torch.stack(list(_norms([local(grad) for grad in grads])))).square()
    counted_once = [p if p.is_replicate() else Partial() for p in grads[0].placements]
    spread = type(grads[0]).from_local(square, grads[0].device_mesh, counted_once, run_check=False)
    joint: Tensor = spread.full_tensor().sqrt()
    return joint
