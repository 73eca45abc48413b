"""Stochastic gradient descent with momentum."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import ParamsT

from tlm_optim.checked import CheckedOptimizer, Group, State
from tlm_optim.settings import BELOW_ONE, NOT_NEGATIVE, TRUE_OR_FALSE


class SGD(CheckedOptimizer):
    """Gradient descent with momentum, Nesterov's too, and decoupled weight decay.

    At each step, with gradient g and the group's lr, momentum μ and weight_decay λ:

        θ ← θ − lr · λ · θ
        b ← μ b + g
        θ ← θ − lr · b,    or with nesterov:  θ ← θ − lr · (g + μ b)

    with b starting at 0. Follows Sutskever et al. 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, in the form of `torch.optim.SGD`, and for
    the decay Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101. The arithmetic is
    torch's fused kernel.

    State dicts pass to and from `torch.optim.SGD`, which adds λ θ to the gradient instead. One that
    comes from there goes on so here, with `decoupled_weight_decay` False. One that goes there goes
    on with torch's decay, whatever it was here: for the same steps in both, set
    `decoupled_weight_decay` to False from the start (without momentum or decay they are the same).

    Args:
        params: parameters, or groups of them with their own settings.
        lr: learning rate; a scalar tensor where a compiled step is to see it change.
        momentum: decay of the sum of gradients a step; 0 keeps no state.
        nesterov: whether to look one step of momentum ahead.
        weight_decay: part of a weight, times lr, that a step takes away.
        decoupled_weight_decay: False adds λ θ to the gradient, before the momentum.
        maximize: whether to climb instead.

    Raises:
        ValueError: a setting out of its range or an unknown one, in the arguments or in a group;
            nesterov without momentum; a parameter with gaps or overlaps in memory, as a slice has.
        TypeError: a complex parameter.
    """

    _rules: ClassVar = {
        "lr": NOT_NEGATIVE,
        "momentum": BELOW_ONE,
        "nesterov": TRUE_OR_FALSE,
        "weight_decay": NOT_NEGATIVE,
        "decoupled_weight_decay": TRUE_OR_FALSE,
        "maximize": TRUE_OR_FALSE,
    }
    _fixed: ClassVar = {"dampening": 0, "differentiable": False}
    _in_place: ClassVar = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        maximize: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "dampening": 0,  # torch's reads it in what it loads
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state; one of `torch.optim.SGD` goes on with the decay that it had there."""
        for group in state["param_groups"]:
            group.setdefault("decoupled_weight_decay", False)
        super().__setstate__(state)

    def _check_settings(self, group: Mapping[str, Any]) -> None:
        super()._check_settings(group)
        if group["nesterov"] and group["momentum"] == 0:
            raise ValueError("nesterov=True needs a momentum above 0")

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        return {"momentum_buffer": parameter.shape} if group["momentum"] else {}

    # torch.compile has no way to trace the kernel, and one pass over memory needs no fusing.
    @_disable_dynamo
    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
        # Without momentum the two decays are one, and the kernel has it in its one pass.
        if decay and momentum and group["decoupled_weight_decay"]:
            torch._foreach_mul_(weights, 1 - lr * decay)
            decay = 0.0
        torch._fused_sgd_(
            weights,
            grads,
            [state["momentum_buffer"] for state in states] if momentum else [],
            weight_decay=decay,
            momentum=momentum,
            lr=lr,
            dampening=0.0,
            nesterov=group["nesterov"],
            maximize=False,
            is_first_step=False,
        )
