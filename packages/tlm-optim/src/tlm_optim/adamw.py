"""The AdamW optimizer."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import ParamsT

from tlm_optim.checked import CheckedOptimizer, Group, State
from tlm_optim.settings import NOT_NEGATIVE, TRUE_OR_FALSE, TWO_BELOW_ONE


class AdamW(CheckedOptimizer):
    """Adam with decoupled weight decay.

    At step t, with gradient g and the group's lr, (β₁, β₂), eps and weight_decay λ:

        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)

    with m, v and t starting at 0. Follows Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1711.05101; equals `torch.optim.AdamW` in float32 and float64, and state
    dicts pass both ways. The arithmetic is torch's fused kernel: one pass over memory, where the
    lines above as tensor operations take three times as long. Weights of half types have m and v
    in float32 and lose no update to rounding, where torch's round m, v and θ at each step.

    Args:
        params: parameters, or groups of them with their own settings.
        lr: learning rate; a scalar tensor where a compiled step is to see it change.
        betas: decay of the mean of gradients and of their squares, each a step.
        eps: added to the root of the mean square.
        weight_decay: part of a weight, times lr, that a step takes away.
        maximize: whether to climb instead.

    Raises:
        ValueError: a setting out of its range or an unknown one, in the arguments or in a group; a
            parameter with gaps or overlaps in memory, as a slice has.
        TypeError: a complex parameter.
    """

    _rules: ClassVar = {
        "lr": NOT_NEGATIVE,
        "betas": TWO_BELOW_ONE,
        "eps": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "maximize": TRUE_OR_FALSE,
    }
    _fixed: ClassVar = {"amsgrad": False, "differentiable": False, "decoupled_weight_decay": True}
    _in_place: ClassVar = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        return {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}

    # torch.compile has no way to trace the kernel, and one pass over memory needs no fusing.
    @_disable_dynamo
    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        beta1, beta2 = group["betas"]
        torch._fused_adamw_(
            weights,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )
