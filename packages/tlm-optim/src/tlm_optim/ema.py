"""Averages of weights over the steps of a run."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlm_optim.layout import local
from tlm_optim.rounding import wide_dtype


class ExponentialMovingAverage:
    """Exponential moving average of a model's weights, often better to evaluate than the last.

    At the t-th update, with weights θ and decay β:

        ā ← β ā + (1 − β) θ,    average = ā / (1 − βᵗ)

    with ā starting at 0, so that the first average is the first weights, and none is pulled
    towards where training started. Follows Polyak and Juditsky 1992,
    https://doi.org/10.1137/0330046, with the correction of Kingma and Ba 2014,
    https://arxiv.org/abs/1412.6980. It is kept as one number a weight: in the form

        average ← average + (1 − β) / (1 − βᵗ) · (θ − average)

    in float32 for weights of half types, on the weights' device, and spread over processes as a
    weight is that is a `DTensor`. Buffers, such as the statistics of batch norm, are not averaged.

    Args:
        model: whose trained parameters; those with `requires_grad=False` are left out.
        decay: share of the average that an update keeps, from 0 to below 1. About 1 / (1 − decay)
            updates are averaged.

    Raises:
        ValueError: a decay out of its range.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> ema = ExponentialMovingAverage(model, decay=0.5)
        >>> for weight in (3.0, 6.0):
        ...     _ = model.weight.data.fill_(weight)
        ...     ema.update(model)
        >>> with ema.applied_to(model):
        ...     model.weight.item()
        5.0
        >>> model.weight.item()
        6.0
    """

    def __init__(self, model: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"{decay=} must be at least 0 and below 1")
        self.decay = decay
        self.updates = 0
        self.averages: dict[str, Tensor] = {
            name: parameter.detach().to(wide_dtype(parameter.dtype), copy=True)
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take the present weights in; to be called after each step of the optimizer.

        Raises:
            ValueError: it is another model.
        """
        parameters = self._parameters(model)
        self.updates += 1
        share = (1 - self.decay) / (1 - self.decay**self.updates)
        kinds: dict[tuple[torch.device, torch.dtype], tuple[list[Tensor], list[Tensor]]] = {}
        for name, parameter in parameters.items():
            if self.averages[name].device != parameter.device:
                self.averages[name] = self.averages[name].to(parameter.device)
            average = self.averages[name]
            averages, weights = kinds.setdefault((average.device, average.dtype), ([], []))
            averages.append(local(average))
            weights.append(local(parameter.detach()).to(average.dtype))
        for averages, weights in kinds.values():
            torch._foreach_lerp_(averages, weights, share)

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Put the average into a model, for the time of a `with` block.

        Args:
            model: the one that is averaged, or one of the same parameters. What changes in its
                weights inside the block is lost at its end.
        """
        parameters = self._parameters(model)
        kept = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        self.copy_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(kept[name])

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the average into a model, to stay."""
        for name, parameter in self._parameters(model).items():
            parameter.copy_(self.averages[name])

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates and the average of each parameter by its name."""
        return {"updates": self.updates, "averages": dict(self.averages)}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave.

        Raises:
            ValueError: it is of another model, or of something else.
        """
        for key in ("updates", "averages"):
            if key not in state_dict:
                raise ValueError(f"a state without {key} is not of an ExponentialMovingAverage")
        averages = state_dict["averages"]
        _check_alike(averages, self.averages)
        for name, average in self.averages.items():
            average.copy_(averages[name])
        self.updates = int(state_dict["updates"])

    def _parameters(self, model: nn.Module) -> dict[str, nn.Parameter]:
        parameters = dict(model.named_parameters())
        _check_alike(parameters, self.averages, exactly=False)
        return {name: parameters[name] for name in self.averages}


def _check_alike(
    given: Mapping[str, Tensor], averages: Mapping[str, Tensor], exactly: bool = True
) -> None:
    missing = [name for name in averages if name not in given]
    extra = [name for name in given if name not in averages] if exactly else []
    for names, words in ((missing, "is missing"), (extra, "is not averaged")):
        if names:
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(f"{names[0]} {words}{more}: is this another model?")
    for name, average in averages.items():
        if given[name].shape != average.shape:
            raise ValueError(
                f"{name} has the shape {tuple(given[name].shape)}, and its average "
                f"{tuple(average.shape)}: is this another model?"
            )
