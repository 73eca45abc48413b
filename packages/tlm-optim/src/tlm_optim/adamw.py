"""The AdamW optimizer."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    At step t, with gradient g and the group's lr, (β₁, β₂), eps and weight_decay λ:

        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)

    with m, v and t starting at 0. Follows Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1711.05101; equals `torch.optim.AdamW`, and state dicts pass both ways.
    The arithmetic is torch's fused kernel: one pass over memory, where the lines above as tensor
    operations take three times as long.

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

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, as `load_state_dict` does; what we cannot go on with is refused."""
        for group in state["param_groups"]:
            for option in ("amsgrad", "maximize"):
                if group.get(option):
                    raise ValueError(f"a state with {option}=True: AdamW here has no {option}")
        super().__setstate__(state)
        for parameter, values in self.state.items():
            # The kernel wants the count beside the parameter; saved ones may be on the CPU.
            values["step"] = torch.as_tensor(
                values["step"], dtype=torch.float32, device=parameter.device
            )

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
            TypeError: a sparse gradient.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            # One call of the kernel takes tensors of one device and type.
            alike: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    pair = (parameter, _refuse_sparse(parameter.grad))
                    alike.setdefault((parameter.device, parameter.dtype), []).append(pair)
            for pairs in alike.values():
                self._update(pairs, group)
        return loss

    def _update(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        parameters = [parameter for parameter, _ in pairs]
        grads = [grad for _, grad in pairs]
        states = [self._state_of(parameter) for parameter in parameters]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            parameters,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            steps,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state


def _refuse_sparse(grad: Tensor) -> Tensor:
    if grad.layout is not torch.strided:
        raise TypeError(
            f"AdamW takes no sparse gradients, and the parameter of shape {tuple(grad.shape)} has "
            f"one: make its layer dense (sparse=False), or give it to torch.optim.SparseAdam"
        )
    return grad


def _check_settings(group: dict[str, Any]) -> None:
    for name in ("lr", "eps", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"{name}={group[name]} must not be negative")
    if not all(0 <= beta < 1 for beta in group["betas"]):
        raise ValueError(f"betas={group['betas']} must each be at least 0 and below 1")
