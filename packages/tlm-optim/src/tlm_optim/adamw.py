"""The AdamW optimizer."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from tlm_optim.gradients import refuse_sparse

# Options of torch's AdamW that would change the update, with the value that ours has.
_FIXED = {
    "amsgrad": False,
    "maximize": False,
    "differentiable": False,
    "decoupled_weight_decay": True,
}
# What a group may hold: our settings, torch's choices of a kernel, and the notes of schedulers.
_KNOWN = {
    *("params", "param_names", "lr", "betas", "eps", "weight_decay"),
    *(*_FIXED, "foreach", "fused", "capturable"),
    *("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),
}


class AdamW(Optimizer):
    """Adam with decoupled weight decay.

    At step t, with gradient g and the group's lr, (β₁, β₂), eps and weight_decay λ:

        θ ← θ − lr · λ · θ
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        θ ← θ − lr · (m / (1 − β₁ᵗ)) / (sqrt(v / (1 − β₂ᵗ)) + eps)

    with m, v and t starting at 0. Follows Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1711.05101; equals `torch.optim.AdamW` in float32 and float64, and state
    dicts pass both ways. For weights of half types m and v are of that type too, as torch's are:
    each step rounds.
    The arithmetic is torch's fused kernel: one pass over memory, where the lines above as tensor
    operations take three times as long.

    Args:
        params: parameters, or groups of them with their own settings.
        lr: learning rate.
        betas: decay of the mean of gradients and of their squares, each a step.
        eps: added to the root of the mean square.
        weight_decay: part of a weight, times lr, that a step takes away.

    Raises:
        ValueError: a setting out of its range or an unknown one, in the arguments or in a group; a
            parameter with gaps or overlaps in memory, as a slice has.
        TypeError: a complex parameter.
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
        """Add a group of parameters, after a check of its settings and of their layout."""
        _check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)
        try:
            for parameter in param_group["params"]:
                _check_parameter(parameter)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, as `load_state_dict` does; what we cannot go on with is refused."""
        for group in state["param_groups"]:
            _check_settings(group)
        for parameter, values in state["state"].items():
            _check_state(parameter, values)
        super().__setstate__(state)
        for parameter, values in self.state.items():
            if values:
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
            TypeError: a sparse gradient; nothing moves.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        calls = []  # collected first, so that nothing moves where a gradient is refused
        for group in self.param_groups:
            # One call of the kernel takes tensors of one device and type.
            alike: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    grad = _laid_out_as(parameter, refuse_sparse(parameter.grad, "AdamW"))
                    pairs = alike.setdefault((parameter.device, parameter.dtype), [])
                    pairs.append((parameter, grad))
            calls += [(group, pairs) for pairs in alike.values()]
        for group, pairs in calls:
            self._update(pairs, group)
        return loss

    def _update(self, pairs: list[tuple[Tensor, Tensor]], group: dict[str, Any]) -> None:
        states = [self._state_of(parameter) for parameter, _ in pairs]
        steps = [state["step"] for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [parameter for parameter, _ in pairs],
            [grad for _, grad in pairs],
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
        for name in ("exp_avg", "exp_avg_sq"):
            state[name] = _laid_out_as(parameter, state[name])
        return state


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    # The kernel walks raw memory, whatever the strides: all its tensors need the same ones.
    if tensor.stride() == parameter.stride():
        return tensor
    _check_parameter(parameter)
    return torch.empty_like(parameter).copy_(tensor)


def _check_parameter(parameter: Tensor) -> None:
    if parameter.is_complex():
        raise TypeError(
            f"AdamW takes no complex parameters, and one of shape {tuple(parameter.shape)} is "
            f"{parameter.dtype}: hold it as torch.view_as_real gives it"
        )
    # empty_like keeps the strides of dense tensors alone
    if torch.empty_like(parameter, device="meta").stride() != parameter.stride():
        raise ValueError(
            f"the parameter of shape {tuple(parameter.shape)} and strides {parameter.stride()} "
            f"must lie in memory without gaps or overlaps: make it of x.contiguous()"
        )


def _check_settings(group: dict[str, Any]) -> None:
    for name in ("lr", "betas", "eps", "weight_decay"):
        if name not in group:
            raise ValueError(f"a group without {name}: is it of another optimizer than AdamW?")
    for name, value in group.items():
        if name in _FIXED and value != _FIXED[name]:
            raise ValueError(f"{name}={value}: AdamW here has {name}={_FIXED[name]} only")
        if name not in _KNOWN:
            raise ValueError(
                f"{name}={value!r} is not an option of AdamW: it has lr, betas, eps, weight_decay"
            )
    for name in ("lr", "eps", "weight_decay"):
        if not group[name] >= 0:
            raise ValueError(f"{name}={group[name]} must not be negative")
    betas = group["betas"]
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"{betas=} must be two numbers, each at least 0 and below 1")


def _check_state(parameter: Tensor, values: dict[str, Any]) -> None:
    if values and set(values) != {"step", "exp_avg", "exp_avg_sq"}:
        raise ValueError(
            f"a state of {', '.join(values)}: AdamW's has step, exp_avg and exp_avg_sq"
        )
    for name, value in values.items():
        if name != "step" and value.shape != parameter.shape:
            raise ValueError(
                f"{name} of shape {tuple(value.shape)} must have the shape "
                f"{tuple(parameter.shape)} of its parameter: is the state of another model?"
            )
