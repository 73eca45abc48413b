"""Losses."""

import torch
from torch import Tensor


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean surprise at the targets: −log softmax(logits)[target], in nats.

    Computed in float32 at least, as log Σ exp(logits) − logits[target], with the greatest logit
    taken away first, so that nothing overflows.

    Args:
        logits: scores, (..., vocab_size).
        targets: int64, (...), from 0 to vocab_size − 1.

    Returns:
        Nats per target, a scalar.

    Raises:
        ValueError: shapes that do not match, or (on the CPU) a target outside the vocabulary.

    Example:
        >>> cross_entropy(torch.zeros(2, 8), torch.tensor([3, 5]))  # log 8
        tensor(2.0794)
    """
    if logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} must match all axes but the last of logits "
            f"of shape {tuple(logits.shape)}"
        )
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_probs = torch.log_softmax(wide, dim=-1)
    try:
        chosen = log_probs.gather(-1, targets.unsqueeze(-1))
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise ValueError(
            f"targets go from {int(targets.min())} to {int(targets.max())}; they must be from 0 "
            f"to {logits.shape[-1] - 1} (vocab_size={logits.shape[-1]})"
        ) from None
    return -chosen.mean()
