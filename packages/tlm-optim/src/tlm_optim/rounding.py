"""Weights of half types, kept as exact as float32 keeps them.

A step is often smaller than the spacing of bfloat16 numbers around a weight, and would be rounded
away. So the arithmetic is in float32, and what the rounding of a weight takes away is kept in the
optimizer's state, in the weight's own type, and added back before the next step. Weight and rest
together have twice the digits, for two bytes more a weight. A weight that is changed from outside
(loaded, averaged) stays what it was changed to: a rest that rounding cannot have left is dropped.
"""

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from tlm_optim.layout import local

ROUNDED_OFF = "rounded_off"


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type for states and arithmetic: float32, or float64 for float64."""
    return dtype if dtype is torch.float32 else torch.promote_types(dtype, torch.float32)


# Fused code of torch.compile would leave the rounding out, which is what is asked about.
@_disable_dynamo
def widened(weights: list[Tensor], states: list[dict[str, Tensor]]) -> list[Tensor]:
    """Return weights in float32, with what was rounded off them added back.

    Args:
        weights: of one half type.
        states: of each weight, with its `rounded_off`.
    """
    wide = [weight.float() for weight in weights]
    whole = map(local, wide)
    for weight, each, rest in zip(map(local, weights), whole, _rounded_off(states), strict=True):
        rest = rest.float().nan_to_num_(0, 0, 0)  # of an infinite weight it is not a number
        # The factor is for a rest of half a spacing, which otherwise may round either way.
        rounded = torch.add(each, rest, alpha=0.999).to(weight.dtype).float()
        each.addcmul_(rest, rounded.eq_(each))  # in floats: on a CPU masks take longer
    return wide


# Fused code of torch.compile would leave the rounding out, and with it the difference.
@_disable_dynamo
def round_back(weights: list[Tensor], states: list[dict[str, Tensor]], wide: list[Tensor]) -> None:
    """Write float32 weights back, and keep what the rounding takes away.

    Args:
        weights: of a half type; written to.
        states: of each weight; `rounded_off` is written to.
        wide: the float32 weights; spent.
    """
    weights, wide = list(map(local, weights)), list(map(local, wide))
    torch._foreach_copy_(weights, wide)
    torch._foreach_sub_(wide, weights)
    torch._foreach_copy_(_rounded_off(states), wide)


def _rounded_off(states: list[dict[str, Tensor]]) -> list[Tensor]:
    return [local(state[ROUNDED_OFF]) for state in states]
