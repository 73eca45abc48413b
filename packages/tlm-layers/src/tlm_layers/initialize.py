"""First values of weights."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def truncated_normal_(weight: Tensor, std: float) -> None:
    """Fill a weight with N(0, std²), cut at three standard deviations.

    The numbers are drawn on the CPU in float32, with torch's global generator, and then moved and
    rounded: a seed gives the same model on any device and in any dtype. A weight on the meta
    device takes no values and draws none.

    Args:
        weight: any shape, filled in place.
        std: standard deviation before the cut.
    """
    if weight.device.type == "meta":
        return
    drawn = torch.empty(weight.shape, dtype=torch.float32, device="cpu")
    weight.copy_(nn.init.trunc_normal_(drawn, std=std, a=-3 * std, b=3 * std))
