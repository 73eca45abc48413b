"""Types of numbers under autocast."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def matmul_dtype(x: Tensor) -> torch.dtype:
    """The type in which a matrix product of `x` is computed: its own, or autocast's.

    A norm, after which only products stand, answers in this type: autocast would cast its answer
    anew for each of them.

    Args:
        x: of a floating type, any shape.
    """
    device = x.device.type
    if x.dtype == torch.float64 or device == "meta" or not torch.is_autocast_enabled(device):
        return x.dtype
    return torch.get_autocast_dtype(device)


def without_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A context in which matrix products of tensors beside `x` are of their own type.

    Args:
        x: any tensor.
    """
    device = x.device.type
    if device == "meta" or not torch.is_autocast_enabled(device):
        return nullcontext()
    return torch.autocast(device, enabled=False)
