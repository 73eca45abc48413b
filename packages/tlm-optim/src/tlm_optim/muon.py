"""The Muon optimizer, for matrices."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from tlm_optim.checked import CheckedOptimizer, Group, State, descend
from tlm_optim.layout import gathered, local, scattered_as
from tlm_optim.newton_schulz import COEFFICIENTS, orthogonalize
from tlm_optim.settings import (
    BELOW_ONE,
    COUNT,
    NOT_NEGATIVE,
    THREE_NUMBERS,
    TRUE_OR_FALSE,
    one_of,
)


class Muon(CheckedOptimizer):
    """Momentum, made orthogonal: every direction of a matrix moves by the same amount.

    At each step, with gradient G of a matrix W of r rows and c columns, and the group's lr,
    momentum μ and weight_decay λ:

        B ← μ B + (1 − μ) G
        U ← orthogonalize(B),    or with nesterov:  U ← orthogonalize(μ B + (1 − μ) G)
        W ← W − lr · λ · W
        W ← W − lr · s · U

    with B starting at 0. The scale s is sqrt(max(1, r / c)), or with adjust_lr_fn
    "match_rms_adamw" 0.2 · sqrt(max(r, c)), which gives U the size of AdamW's steps: then both
    take the same lr and weight_decay. Follows Keller Jordan 2024,
    https://kellerjordan.github.io/posts/muon/, and for the second scale Liu et al. 2025,
    https://arxiv.org/abs/2502.16982. Settings and state dicts are those of `torch.optim.Muon`.

    It is for the hidden matrices of a model: embeddings, the output layer and vectors go to
    another optimizer (see `muon_groups` and `Combined`). Matrices of one shape are taken together,
    as one batch of products. Of a `DTensor` the whole matrix is gathered, so that a step does not
    depend on how it is spread.

    Args:
        params: matrices, (rows, columns), or stacks of them, (n, rows, columns); or groups of
            them with their own settings.
        lr: learning rate; a scalar tensor where a compiled step is to see it change.
        weight_decay: part of a weight, times lr, that a step takes away.
        momentum: decay of the mean of gradients a step.
        nesterov: whether to look one step of momentum ahead.
        ns_coefficients: of the Newton–Schulz iteration (`orthogonalize`).
        eps: the least norm of a matrix that is divided by.
        ns_steps: of the Newton–Schulz iteration.
        adjust_lr_fn: "original" (None is the same) or "match_rms_adamw".
        maximize: whether to climb instead.

    Raises:
        ValueError: a setting out of its range or an unknown one, in the arguments or in a group; a
            parameter that is no matrix, or with gaps or overlaps in memory, as a slice has.
        TypeError: a complex parameter.
    """

    _rules: ClassVar = {
        "lr": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "momentum": BELOW_ONE,
        "nesterov": TRUE_OR_FALSE,
        "ns_coefficients": THREE_NUMBERS,
        "eps": NOT_NEGATIVE,
        "ns_steps": COUNT,
        "adjust_lr_fn": one_of(None, "original", "match_rms_adamw"),
        "maximize": TRUE_OR_FALSE,
    }
    _elementwise: ClassVar = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        *,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_parameter(self, parameter: Tensor) -> None:
        super()._check_parameter(parameter)
        if parameter.ndim not in (2, 3):
            raise ValueError(
                f"Muon takes matrices or stacks of them, and a parameter has the shape "
                f"{tuple(parameter.shape)}: give it to AdamW, as muon_groups does"
            )

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        return {"momentum_buffer": parameter.shape}

    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        momentum = group["momentum"]
        means = [local(state["momentum_buffer"]) for state in states]
        updates = [local(grad) for grad in grads]
        torch._foreach_lerp_(means, updates, 1 - momentum)
        if group["nesterov"]:
            updates = list(torch._foreach_lerp(updates, means, momentum))
        else:
            updates = means
        by_shape: dict[torch.Size, list[int]] = {}
        for index, weight in enumerate(weights):
            by_shape.setdefault(weight.shape, []).append(index)
        for shape, indices in by_shape.items():
            whole = [gathered(updates[index], weights[index]) for index in indices]
            orthogonal = orthogonalize(
                torch.stack(whole), group["ns_steps"], group["ns_coefficients"], group["eps"]
            ).unbind()
            descend(
                [local(weights[index]) for index in indices],
                [
                    scattered_as(weights[index], update)
                    for index, update in zip(indices, orthogonal, strict=True)
                ],
                group["lr"] * _scale(group["adjust_lr_fn"], *shape[-2:]),
                group["lr"] * group["weight_decay"],
            )


def _scale(adjust_lr_fn: str | None, rows: int, columns: int) -> float:
    if adjust_lr_fn == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / max(1, columns)))
