"""The AdamW optimizer."""

import math
from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim.optimizer import Optimizer, ParamsT


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    At step t, with gradient g and the group's lr, (β₁, β₂), eps and weight_decay λ:

        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)

    Follows Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101; equals
    `torch.optim.AdamW`, and state dicts pass both ways.

    Args:
        params: parameters, or groups of them with their own settings.
        lr: learning rate.
        betas: decay of the mean of gradients and of their squares, each a step.
        eps: added to the root of the mean square.
        weight_decay: part of a weight, times lr, that a step takes away.

    Raises:
        ValueError: a setting out of its range, in the arguments or in a group.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, after a check of its settings."""
        _check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every parameter that has a gradient.

        Args:
            closure: computes the gradients afresh and returns the loss.

        Returns:
            What `closure` returned, if there is one.

        Raises:
            RuntimeError: a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)
        return loss

    def _step_one(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        grad = parameter.grad
        assert grad is not None
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = state["step"].item()
        lr, eps = group["lr"], group["eps"]
        beta1, beta2 = group["betas"]
        parameter.mul_(1 - lr * group["weight_decay"])
        state["exp_avg"].lerp_(grad, 1 - beta1)
        state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        denominator = state["exp_avg_sq"].sqrt().div_(math.sqrt(1 - beta2**step)).add_(eps)
        parameter.addcdiv_(state["exp_avg"], denominator, value=-lr / (1 - beta1**step))


def _check_settings(group: dict[str, Any]) -> None:
    for name in ("lr", "eps", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"{name}={group[name]} must not be negative")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas={group['betas']} must each be at least 0 and below 1")
