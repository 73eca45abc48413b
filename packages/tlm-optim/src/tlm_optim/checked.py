"""What the optimizers share: checks of all that comes in, and the way of a step."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, overload

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from tlm_optim.layout import (
    check_parameter,
    is_distributed,
    laid_out_as,
    local,
    refuse_sparse,
    replicated,
)
from tlm_optim.loading import ExactLoading
from tlm_optim.rounding import ROUNDED_OFF, round_back, wide_dtype, widened
from tlm_optim.settings import Rule, check_settings

Group = dict[str, Any]
State = dict[str, Tensor]


def _part_elements(device: torch.device) -> int:
    """Return how many elements are updated in one go, where an update needs room of its own.

    The room is a few times so much, whatever the model's size. A GPU wants few and large calls; a
    CPU has the room in its caches.
    """
    return 2**18 if device.type == "cpu" else 2**25


class Part(NamedTuple):
    """Parameters of one group, device and type that are updated together."""

    group: Group
    weights: list[Tensor]
    grads: list[Tensor]
    states: list[State]

    def local(self) -> "Part":
        """Return it with what this process holds of each `DTensor`."""
        if not any(map(is_distributed, self.weights)):
            return self
        return Part(
            self.group,
            [local(weight) for weight in self.weights],
            [local(grad) for grad in self.grads],
            [{name: local(value) for name, value in state.items()} for state in self.states],
        )


class CheckedOptimizer(ExactLoading):
    """An optimizer that refuses what it cannot do right, before anything moves.

    A subclass names its settings in `_rules`, its states in `_state_shapes`, and gives `_update`.
    The states are in float32 (float64 for float64 weights), and so is the arithmetic: see
    `tlm_optim.rounding` for weights of half types.
    """

    _rules: ClassVar[Mapping[str, Rule]]
    # Options of torch's optimizer that would change the step, with the value that ours has.
    _fixed: ClassVar[Mapping[str, Any]] = {"differentiable": False}
    # Whether every element goes its own way, so that the shards of a DTensor can be taken apart.
    _elementwise: ClassVar[bool] = True
    # Whether float32 weights are updated with no room of its own, so that all can go at once.
    _in_place: ClassVar[bool] = False
    # States that stand for rows or columns, and that every process holds whole.
    _factors: ClassVar[frozenset[str]] = frozenset()

    def _state_shapes(self, parameter: Tensor, group: Group) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of each state of a parameter; `step` is the count of steps."""
        raise NotImplementedError

    def _update(
        self, group: Group, weights: list[Tensor], grads: list[Tensor], states: list[State]
    ) -> None:
        """Move weights (float32 or float64) against their gradients, in place."""
        raise NotImplementedError

    def add_param_group(self, param_group: Group) -> None:
        """Add a group of parameters, after a check of its settings and of their layout."""
        self._check_settings({**self.defaults, **param_group})
        super().add_param_group(param_group)
        try:
            for parameter in param_group["params"]:
                self._check_parameter(parameter)
        except (TypeError, ValueError):
            self.param_groups.pop()
            raise

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
        for group, weights, grads, states in self._parts():
            if group["maximize"]:
                grads = [-grad for grad in grads]
            wide = wide_dtype(weights[0].dtype)
            grads = [grad if grad.dtype == wide else grad.to(wide) for grad in grads]
            if weights[0].dtype == wide:
                self._update(group, weights, grads, states)
            else:
                wide_weights = widened(weights, states)
                self._update(group, wide_weights, grads, states)
                round_back(weights, states, wide_weights)
        return loss

    # All of it is done before the first update, so that nothing moves where a gradient is
    # refused; and torch.compile, which cannot trace it, sees lists of tensors alone.
    @_disable_dynamo
    def _parts(self) -> list[Part]:
        parts = []
        for group in self.param_groups:
            open_parts: dict[tuple[torch.device, torch.dtype], Part] = {}
            sizes: dict[tuple[torch.device, torch.dtype], int] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                grad = refuse_sparse(parameter.grad, type(self).__name__)
                grad = laid_out_as(parameter, grad, type(self).__name__)
                kind = (parameter.device, parameter.dtype)
                size = parameter.numel()
                if kind not in open_parts or sizes[kind] + size > self._room(*kind):
                    open_parts[kind], sizes[kind] = Part(group, [], [], []), 0
                    parts.append(open_parts[kind])
                part = open_parts[kind]
                sizes[kind] += size
                part.weights.append(parameter)
                part.grads.append(grad)
        for part in parts:
            part.states.extend(self._state_of(weight, part.group) for weight in part.weights)
        return [part.local() for part in parts] if self._elementwise else parts

    def _room(self, device: torch.device, dtype: torch.dtype) -> float:
        no_room_needed = self._in_place and dtype == wide_dtype(dtype)
        return math.inf if no_room_needed else _part_elements(device)

    def _state_of(self, parameter: Tensor, group: Group) -> State:
        state: State = self.state[parameter]
        wide = wide_dtype(parameter.dtype)
        for name, shape in self._state_shapes(parameter, group).items():
            if name == "step":
                if name not in state:
                    state[name] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            elif name in self._factors:
                if name not in state:
                    state[name] = replicated(parameter.new_zeros(shape, dtype=wide))
            else:
                self._lay_out(state, name, parameter, wide)
        if parameter.dtype != wide:
            self._lay_out(state, ROUNDED_OFF, parameter, parameter.dtype)
        return state

    def _lay_out(self, state: State, name: str, parameter: Tensor, dtype: torch.dtype) -> None:
        value = state.get(name)
        if value is None:
            state[name] = torch.zeros_like(parameter, dtype=dtype)
        else:
            state[name] = laid_out_as(parameter, value, type(self).__name__, dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, as `load_state_dict` does; what we cannot go on with is refused."""
        for group in state["param_groups"]:
            group.setdefault("maximize", False)
            self._check_settings(group)
            for parameter in group["params"]:
                if parameter in state["state"]:
                    self._check_state(parameter, group, state["state"][parameter])
        super().__setstate__(state)
        for parameter, values in self.state.items():
            if "step" in values:
                # The kernels want the count beside the parameter; saved ones may be on the CPU.
                values["step"] = torch.as_tensor(
                    values["step"], dtype=torch.float32, device=parameter.device
                )

    def _check_settings(self, group: Mapping[str, Any]) -> None:
        check_settings(type(self).__name__, group, self._rules, self._fixed)

    def _check_parameter(self, parameter: Tensor) -> None:
        check_parameter(parameter, type(self).__name__)

    def _check_state(self, parameter: Tensor, group: Group, values: dict[str, Any]) -> None:
        for name in [name for name, value in values.items() if value is None]:
            del values[name]
        shapes = self._state_shapes(parameter, group)
        if values and set(values) - {ROUNDED_OFF} != set(shapes):
            names = list(shapes) or ["nothing"]
            wanted = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            raise ValueError(
                f"a state of {', '.join(values)}: {type(self).__name__}'s has {wanted}"
            )
        for name, value in values.items():
            shape = tuple(shapes.get(name, parameter.shape))
            if name != "step" and value.shape != shape:
                raise ValueError(
                    f"{name} of shape {tuple(value.shape)} must have the shape {shape}, as its "
                    f"parameter is {tuple(parameter.shape)}: is the state of another model?"
                )


def descend(
    weights: list[Tensor],
    updates: list[Tensor],
    step_size: float | Tensor,
    decay: float | Tensor,
) -> None:
    """Move weights against updates: θ ← (1 − decay) θ − step_size · u.

    Args:
        weights: written to.
        updates: of each weight; spent.
        step_size: a number, or a scalar tensor, as a compiled step has it.
        decay: the part of a weight that goes; likewise.
    """
    if isinstance(decay, Tensor) or decay != 0:
        torch._foreach_mul_(weights, 1 - decay)
    if isinstance(step_size, Tensor):
        torch._foreach_mul_(updates, step_size)
        torch._foreach_sub_(weights, updates)
    else:
        torch._foreach_add_(weights, updates, alpha=-step_size)
