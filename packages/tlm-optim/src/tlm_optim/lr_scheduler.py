"""Schedules of this package where a `torch.optim.lr_scheduler` is asked for."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer

from tlm_optim.schedules import Schedule


class ScheduleLR(LRScheduler):
    """Sets the learning rate of each group to what a schedule gives for the step.

    It is for trainers that call `scheduler.step()`; in a loop of your own a schedule needs no
    object. Its state is the step alone.

    Args:
        optimizer: whose rates are set, at once for step 0.
        schedule: a function of the step, for all groups, or one for each.

    Raises:
        ValueError: another number of schedules than of groups.

    Example:
        >>> import torch
        >>> from functools import partial
        >>> from tlm_optim import constant_schedule
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))])
        >>> scheduler = ScheduleLR(
        ...     optimizer, partial(constant_schedule, max_lr=0.1, warmup_steps=4)
        ... )
        >>> optimizer.step()
        >>> scheduler.step()
        >>> optimizer.param_groups[0]["lr"]
        0.025
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule | Sequence[Schedule]) -> None:
        groups = len(optimizer.param_groups)
        self.schedules = [schedule] * groups if callable(schedule) else list(schedule)
        if len(self.schedules) != groups:
            raise ValueError(f"{len(self.schedules)} schedules for {groups} groups: give one each")
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """Return the rate of each group at the present step."""
        return [schedule(self.last_epoch) for schedule in self.schedules]

    def state_dict(self) -> dict[str, Any]:
        """Return the step."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to a step, and set its rates."""
        self.last_epoch = state_dict["last_epoch"]
        self._step_count = self.last_epoch + 1
        self._last_lr = self.get_lr()
        for group, lr in zip(self.optimizer.param_groups, self._last_lr, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr
