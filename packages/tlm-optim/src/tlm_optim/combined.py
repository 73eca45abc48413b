"""Several optimizers as one."""

from collections.abc import Callable
from typing import Any, overload

import torch
from torch.optim.optimizer import Optimizer

from tlm_optim.loading import ExactLoading


class Combined(ExactLoading):
    """Optimizers, each with its own parameters, as the one that trainers hold.

    Its groups are those of its parts, in order, and its state theirs together: learning-rate
    schedulers, `zero_grad`, clipping, and checkpoints by `state_dict` and `load_state_dict` work
    as with one. Settings of a group are set where they are read: in `param_groups`, of the whole
    or of the part, which are the same.

    Args:
        optimizers: two or more, of this package or of torch.

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
        super().__init__([group for part in optimizers for group in part.param_groups], {})
        self.optimizers = optimizers
        for part in optimizers:
            self.state.update(part.state)
        self._share()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse a further group, of which it is not said which optimizer is to have it."""
        if hasattr(self, "optimizers"):
            raise ValueError(
                "a group cannot be added to Combined: add it to one of the optimizers, "
                "and combine them again"
            )
        super().add_param_group(param_group)

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
        return {**super().__getstate__(), "optimizers": self.optimizers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a state, as `load_state_dict` does; every part checks what is its own."""
        before = {name: self.__dict__.get(name) for name in ("state", "param_groups")}
        super().__setstate__(state)
        try:
            self._share()
        except Exception:  # a part refuses: all go on as they were
            super().__setstate__(before)
            self._share()
            raise

    def _share(self) -> None:
        first = 0
        for part in self.optimizers:
            groups = self.param_groups[first : first + len(part.param_groups)]
            first += len(groups)
            parameters = [parameter for group in groups for parameter in group["params"]]
            own = {p: self.state[p] for p in parameters if p in self.state}
            part.__setstate__({"state": own, "param_groups": groups})
            part.state = self.state
