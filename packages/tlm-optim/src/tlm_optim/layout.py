"""How tensors lie in memory and over processes, and what of it an optimizer takes."""

import sys
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_distributed(tensor: Tensor) -> "TypeGuard[DTensor]":
    """Say whether a tensor is a `DTensor`, spread over processes."""
    kind = type(tensor)
    if kind is Tensor or kind is nn.Parameter:  # a step asks this of every tensor
        return False
    # Where there is one, its module is imported; to import it here would take half a second.
    module = sys.modules.get("torch.distributed.tensor")
    return isinstance(tensor, getattr(module, "DTensor", ()))


def local(tensor: Tensor) -> Tensor:
    """Return the part of a `DTensor` that this process holds, and any other tensor as it is."""
    part: Tensor = tensor.to_local() if is_distributed(tensor) else tensor
    return part


def refuse_sparse(grad: Tensor, taker: str) -> Tensor:
    """Pass a dense gradient on.

    Args:
        grad: the gradient of one parameter.
        taker: the name of what would work on it, for the message.

    Returns:
        `grad` itself.

    Raises:
        TypeError: a sparse gradient.
    """
    if grad.layout is not torch.strided:
        raise TypeError(
            f"{taker} takes no sparse gradients, and the parameter of shape {tuple(grad.shape)} "
            f"has one: make its layer dense (sparse=False), or train it apart, with "
            f"torch.optim.SparseAdam"
        )
    return grad


def check_parameter(parameter: Tensor, taker: str) -> None:
    """Refuse a parameter that the kernels cannot walk through.

    Args:
        parameter: a parameter.
        taker: the name of the optimizer, for the messages.

    Raises:
        TypeError: a complex parameter.
        ValueError: one with gaps or overlaps in memory.
    """
    if parameter.is_complex():
        raise TypeError(
            f"{taker} takes no complex parameters, and one of shape {tuple(parameter.shape)} is "
            f"{parameter.dtype}: hold it as torch.view_as_real gives it"
        )
    held = local(parameter)
    # empty_like keeps the strides of dense tensors alone
    if torch.empty_like(held, device="meta").stride() != held.stride():
        raise ValueError(
            f"the parameter of shape {tuple(parameter.shape)} and strides {parameter.stride()} "
            f"must lie in memory without gaps or overlaps: make it of x.contiguous()"
        )


def laid_out_as(
    parameter: Tensor, tensor: Tensor, taker: str, dtype: torch.dtype | None = None
) -> Tensor:
    """Return a tensor of a parameter's shape with its strides and its spread over processes.

    The fused kernels walk raw memory, whatever the strides: all their tensors need the same ones.

    Args:
        parameter: the pattern.
        tensor: a gradient or a state.
        taker: the name of the optimizer, for the messages.
        dtype: the type to have; None for that of `tensor`.

    Returns:
        `tensor` itself, or where it lies otherwise a copy.

    Raises:
        ValueError: the parameter has gaps or overlaps in memory.
    """
    if dtype is not None and tensor.dtype != dtype:
        tensor = tensor.to(dtype)
    tensor = spread_as(parameter, tensor)
    if local(tensor).stride() == local(parameter).stride():
        return tensor
    check_parameter(parameter, taker)
    return torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)


def gathered(part: Tensor, pattern: Tensor) -> Tensor:
    """Return the whole of a tensor of which each process holds what it holds of a pattern.

    Args:
        part: what this process holds.
        pattern: a `DTensor`, or any other tensor, of which every process holds the whole.
    """
    if not is_distributed(pattern):
        return part
    spread = type(pattern).from_local(
        part,
        pattern.device_mesh,
        pattern.placements,
        run_check=False,
        shape=pattern.shape,
        stride=pattern.stride(),
    )
    return spread.full_tensor()


def scattered_as(pattern: Tensor, whole: Tensor) -> Tensor:
    """Undo `gathered`: return what this process holds of a tensor that is spread as a pattern."""
    if not is_distributed(pattern):
        return whole
    replicated = type(pattern).from_local(whole, pattern.device_mesh, run_check=False)
    return local(replicated.redistribute(placements=pattern.placements))


def replicated(tensor: Tensor) -> Tensor:
    """Return a `DTensor` of which every process holds the whole, and any other tensor as it is."""
    if not is_distributed(tensor):
        return tensor
    from torch.distributed.tensor import Replicate

    return tensor.redistribute(placements=[Replicate()] * tensor.device_mesh.ndim)


def spread_as(pattern: Tensor, tensor: Tensor) -> Tensor:
    """Spread a `DTensor` over processes as a pattern is; return any other tensor as it is."""
    if is_distributed(pattern) and is_distributed(tensor):
        return tensor.redistribute(placements=pattern.placements)
    return tensor


def cut_as(pattern: Tensor, factor: Tensor) -> Tensor:
    """Spread a replicated factor as a pattern is, on the axes on which it is not of length 1."""
    if not is_distributed(factor) or not is_distributed(pattern):
        return factor
    from torch.distributed.tensor import Replicate, Shard

    placements = [
        p if isinstance(p, Shard) and factor.shape[p.dim] > 1 else Replicate()
        for p in pattern.placements
    ]
    return factor.redistribute(placements=placements)
