"""Which parameters get weight decay."""

from typing import Any

from torch import nn


def param_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimizer: decay on matrices, none on gains and biases.

    A parameter with two axes or more is a matrix (embeddings are too). Frozen parameters
    (`requires_grad=False`) are in neither group, shared ones in one, once.

    Args:
        model: whose parameters.
        weight_decay: decay of the matrices.

    Returns:
        Two groups, matrices first, for `torch.optim.Optimizer`.

    Example:
        >>> groups = param_groups(nn.Linear(3, 2), weight_decay=0.1)
        >>> [(group["weight_decay"], len(group["params"])) for group in groups]
        [(0.1, 1), (0.0, 1)]
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
