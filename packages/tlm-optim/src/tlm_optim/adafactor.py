"""The Adafactor optimizer."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from tlm_optim.checked import CheckedOptimizer, Group, State
from tlm_optim.layout import cut_as, local, replicated, spread_as
from tlm_optim.settings import (
    AT_LEAST_ONE,
    EPS_OR_NONE_AND_EPS,
    NOT_NEGATIVE,
    NOT_POSITIVE,
    TRUE_OR_FALSE,
)


class Adafactor(CheckedOptimizer):
    """Adam without momentum, whose mean squares of a matrix are kept by row and by column.

    At step t, with gradient G and the group's lr, beta2_decay τ, eps (ε₁, ε₂), d and
    weight_decay λ:

        θ ← θ − lr · λ · θ
        R ← (1 − t^τ) R + t^τ · (mean of G² in each row)
        C ← (1 − t^τ) C + t^τ · (mean of G² in each column)
        U ← G / max(sqrt(R C / mean(R)), ε₁)
        θ ← θ − max(ε₂, rms(θ)) · min(lr, 1 / sqrt(t)) · U / max(1, rms(U) / d)

    with rms and mean as they were before the step. Follows Shazeer and Stern 2018,
    https://arxiv.org/abs/1804.04235, in the form of `torch.optim.Adafactor`, whose lr caps the
    relative step size (0.01 in the paper) and whose ε₁ bounds the root. State dicts pass both
    ways. Parameters of three axes or more are stacks of matrices; vectors keep a mean square of
    each element. A matrix of r rows and c columns has a state of r + c numbers, and a step reads
    nothing back from the device.

    Args:
        params: parameters, or groups of them with their own settings.
        lr: the most that a step moves, as a part of the size (rms) of the parameter; a scalar
            tensor where a compiled step is to see it change.
        beta2_decay: exponent of t in the weight of the newest squares, not above 0.
        eps: the least root mean square gradient that is divided by (None: the distance of 1 to
            the next number in the type of the arithmetic), and the least size of a parameter.
        d: the largest rms of an update, before it is scaled down.
        weight_decay: part of a weight, times lr, that a step takes away.
        maximize: whether to climb instead.

    Raises:
        ValueError: a setting out of its range or an unknown one, in the arguments or in a group; a
            parameter with gaps or overlaps in memory, as a slice has.
        TypeError: a complex parameter.
    """

    _rules: ClassVar = {
        "lr": NOT_NEGATIVE,
        "beta2_decay": NOT_POSITIVE,
        "eps": EPS_OR_NONE_AND_EPS,
        "d": AT_LEAST_ONE,
        "weight_decay": NOT_NEGATIVE,
        "maximize": TRUE_OR_FALSE,
    }
    _elementwise: ClassVar = False
    _factors: ClassVar = frozenset({"row_var", "col_var"})

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        if parameter.ndim < 2:
            return {"step": (), "variance": parameter.shape}
        *stack, rows, columns = parameter.shape
        return {"step": (), "row_var": (*stack, rows, 1), "col_var": (*stack, 1, columns)}

    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        # One after the other, so that no more than one matrix is held beside weights and gradients.
        for weight, grad, state in zip(weights, grads, states, strict=True):
            state["step"].add_(1)
            size = _rms(weight).clamp(min=group["eps"][1])
            update = _normalized(grad, state, group)
            relative = torch.clamp(state["step"].rsqrt(), max=group["lr"])
            too_large = (_rms(update) / group["d"]).clamp(min=1)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcmul_(update, size * relative / too_large, value=-1)


def _normalized(grad: Tensor, state: State, group: Group) -> Tensor:
    eps = group["eps"][0]
    eps = torch.finfo(grad.dtype).eps if eps is None else eps
    newest = state["step"].to(grad.dtype) ** group["beta2_decay"]
    if grad.ndim < 2:
        variance = state["variance"].lerp_(grad.square(), newest).clone()
    else:
        row_var = state["row_var"].lerp_(_mean_square(grad, -1), newest)
        col_var = state["col_var"].lerp_(_mean_square(grad, -2), newest)
        mean = row_var.mean(dim=-2, keepdim=True).clamp(min=eps)
        variance = cut_as(grad, row_var / mean) * cut_as(grad, col_var)
    return spread_as(grad, variance.clamp_(min=eps * eps).rsqrt_()).mul_(grad)


def _mean_square(grad: Tensor, dim: int) -> Tensor:
    norm: Tensor = replicated(torch.linalg.vector_norm(grad, dim=dim, keepdim=True))
    return norm.square_().div_(grad.shape[dim])


def _rms(tensor: Tensor) -> Tensor:
    norm: Tensor = local(replicated(torch.linalg.vector_norm(tensor)))
    return norm / math.sqrt(max(tensor.numel(), 1))
