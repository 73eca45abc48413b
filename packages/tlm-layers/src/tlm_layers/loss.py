"""Losses."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise at the targets: −log softmax(logits)[target], in nats.

    Computed in float32 at least, as log Σ exp(logits) − logits[target], which does not overflow.

    Args:
        logits: scores, (..., vocab_size).
        targets: int64, (...), from 0 to vocab_size − 1.

    Returns:
        Nats per target, a scalar.

    Raises:
        ValueError: shapes that do not match.

    Example:
        >>> cross_entropy(torch.zeros(2, 8), torch.tensor([3, 5]))  # log 8
        tensor(2.0794)
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} must match all axes but the last of logits "
            f"of shape {tuple(logits.shape)}"
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    chosen = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return (torch.logsumexp(logits, dim=-1) - chosen).mean()
