"""Several optimizers as one."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from tlm_optim.loading import ExactLoading


class Combined(ExactLoading):
    """Optimizers, each with its own parameters, as the one that trainers hold.

    Its groups are those of its parts, in order, and its state theirs together, read from them
    whenever it is asked: learning-rate schedulers, `zero_grad`, clipping, and checkpoints by
    `state_dict` and `load_state_dict` work as with one. Settings of a group are set where they are
    read: in `param_groups`, of the whole or of the part, which are the same. A part may be loaded
    and saved by itself too.

    A scheduler that moves momentum too looks for it in an optimizer's defaults, and here are none:
    `OneCycleLR` and `CyclicLR` want `cycle_momentum=False`.

    Args:
        optimizers: two or more, of this package or of torch; a `Combined` may be one of them.

    Raises:
        ValueError: fewer than two, or a parameter in two of them.

    Example:
        >>> from tlm_optim import AdamW, Muon
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4))
        >>> optimizer = Combined(
        ...     Muon([model[0].weight], lr=0.02),
        ...     AdamW([model[0].bias, *model[1].parameters()], lr=1e-3),
        ... )
        >>> [group["lr"] for group in optimizer.param_groups]
        [0.02, 0.001]
    """

    optimizers: tuple[Optimizer, ...]
    """The parts."""

    def __init__(self, *optimizers: Optimizer) -> None:
        if len(optimizers) < 2:
            raise ValueError(f"Combined takes two optimizers or more, not {len(optimizers)}")
        # Not by torch's constructor, which would make groups and a state that are not the parts'.
        self.__setstate__({"defaults": {}, "optimizers": optimizers})
        parameters = [parameter for group in self.param_groups for parameter in group["params"]]
        if len(set(parameters)) < len(parameters):
            raise ValueError("some parameters appear in more than one of the optimizers")

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the parts."""
        return [group for part in self.optimizers for group in part.param_groups]

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # type: ignore[override]
        """The states of the parts: of each parameter that has one, the one that its part reads."""
        states = (part.state.items() for part in self.optimizers)
        return defaultdict(dict, chain.from_iterable(states))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse a further group, of which it is not said which optimizer is to have it."""
        raise ValueError(
            "a group cannot be added to Combined: add it to one of the optimizers, "
            "and combine them again"
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Let every part make its step.

        Args:
            closure: computes the gradients afresh and returns the loss; called once.

        Returns:
            What `closure` returned, if there is one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.optimizers:
            part.step()
        return loss

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy is made of."""
        return {"defaults": self.defaults, "optimizers": self.optimizers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, as `load_state_dict` does; every part checks what is its own."""
        if "optimizers" in state:  # of a copy
            super().__setstate__(state)
            return
        before = [_own_state(part.param_groups, part.state) for part in self.optimizers]
        groups = iter(state["param_groups"])
        try:
            for part in self.optimizers:
                own = list(islice(groups, len(part.param_groups)))
                part.__setstate__(_own_state(own, state["state"]))
        except Exception:  # a part refuses: all go on as they were
            for part, own_state in zip(self.optimizers, before, strict=True):
                part.__setstate__(own_state)
            raise


def _own_state(groups: list[dict[str, Any]], states: Mapping[Tensor, Any]) -> dict[str, Any]:
    parameters = [parameter for group in groups for parameter in group["params"]]
    own = {parameter: states[parameter] for parameter in parameters if parameter in states}
    return {"state": defaultdict(dict, own), "param_groups": groups}
