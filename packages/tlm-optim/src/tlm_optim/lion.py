"""The Lion optimizer."""

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from tlm_optim.checked import CheckedOptimizer, Group, State, descend
from tlm_optim.settings import NOT_NEGATIVE, TRUE_OR_FALSE, TWO_BELOW_ONE


class Lion(CheckedOptimizer):
    """Steps of one size in every coordinate: the sign of a mean of gradients.

    At each step, with gradient g and the group's lr, (β₁, β₂) and weight_decay λ:

        u ← sign(β₁ m + (1 − β₁) g)
        θ ← θ − lr · (u + λ θ)
        m ← β₂ m + (1 − β₂) g

    with m starting at 0. Follows Chen et al. 2023, https://arxiv.org/abs/2302.06675 (algorithm 2).
    The state is half of AdamW's. The paper takes an lr a third to a tenth of AdamW's, and a
    weight_decay larger by the same factor.

    Args:
        params: parameters, or groups of them with their own settings.
        lr: learning rate: what each weight moves by; a scalar tensor where a compiled step is to
            see it change.
        betas: share of the mean of gradients in the direction, and its decay a step.
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
        "weight_decay": NOT_NEGATIVE,
        "maximize": TRUE_OR_FALSE,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        return {"exp_avg": parameter.shape}

    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        beta1, beta2 = group["betas"]
        means = [state["exp_avg"] for state in states]
        directions = list(torch._foreach_lerp(means, grads, 1 - beta1))
        torch._foreach_sign_(directions)
        torch._foreach_lerp_(means, grads, 1 - beta2)
        descend(weights, directions, group["lr"], group["lr"] * group["weight_decay"])
