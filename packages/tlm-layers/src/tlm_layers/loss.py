"""Losses: cross-entropy from logits, and from hidden states in chunks."""

import math

import torch
from torch import Tensor

from tlm_layers.chunked_loss import ChunkedCrossEntropy, LossOptions
from tlm_layers.precision import matmul_dtype


def soft_cap(logits: Tensor, cap: float | None) -> Tensor:
    """Bend logits into (−cap, cap): cap · tanh(logits / cap).

    Follows Gemma Team 2024, https://arxiv.org/abs/2408.00118.

    Args:
        logits: any values of a floating type, any shape.
        cap: the bound; None: the logits as they are.

    Returns:
        Values of the shape and type of `logits`.

    Example:
        >>> soft_cap(torch.tensor([0.0, 1.0, 1000.0]), 30.0)
        tensor([ 0.0000,  0.9996, 30.0000])
    """
    _check_options(0.0, cap)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def cross_entropy(
    logits: Tensor, targets: Tensor, *, ignore_index: int = -100, z_loss: float = 0.0
) -> Tensor:
    """Mean surprise at the targets: −log softmax(logits)[target], in nats.

    Computed in float32 at least, as log Σ exp(logits) − logits[target], with the greatest logit
    taken away first, so that nothing overflows.

    Args:
        logits: scores, (..., vocab_size).
        targets: int32 or int64, (...), from 0 to vocab_size − 1, or `ignore_index`.
        ignore_index: targets of this value count for nothing.
        z_loss: weight of the mean of log²(Σ exp(logits)), which is added (Chowdhery et al. 2022,
            https://arxiv.org/abs/2204.02311, section 5).

    Returns:
        Nats per target that counts, a scalar; NaN where none does.

    Raises:
        ValueError: shapes that do not match, or (on the CPU) a target outside the vocabulary.

    Example:
        >>> cross_entropy(torch.zeros(2, 8), torch.tensor([3, 5]))  # log 8
        tensor(2.0794)
    """
    _check_options(z_loss, None)
    _check_shapes("logits", logits, targets)
    _check_targets(targets, ignore_index, logits.shape[-1])
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    counted = targets != ignore_index
    log_probs = torch.log_softmax(wide, dim=-1)
    chosen = log_probs.gather(-1, targets.where(counted, 0).long().unsqueeze(-1)).squeeze(-1)
    loss = -chosen
    if z_loss:
        loss = loss + z_loss * torch.logsumexp(wide, dim=-1).square()
    return loss.where(counted, 0.0).sum() / counted.sum()


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    ignore_index: int = -100,
    z_loss: float = 0.0,
    logit_soft_cap: float | None = None,
    chunk_tokens: int | None = None,
) -> Tensor:
    """`cross_entropy` of the logits hidden · weightᵀ, which are never held all at once.

    A chunk of positions at a time becomes logits, their loss and, while they are at hand, the
    gradients by `hidden` and `weight`: nothing is computed twice, and the memory is that of one
    chunk and of the gradients. Under autocast the products are in its type, all else in float32.

    Args:
        hidden: what stands before the output projection, (..., d_model).
        weight: the output projection, (vocab_size, d_model).
        targets: int32 or int64, (...), from 0 to vocab_size − 1, or `ignore_index`.
        ignore_index: targets of this value count for nothing.
        z_loss: weight of the mean of log²(Σ exp(logits)), which is added.
        logit_soft_cap: logits are bent as by `soft_cap`; None: they are not.
        chunk_tokens: positions whose logits are held at once; None: 256 on the CPU, where a chunk
            should fit its caches, and 2048 elsewhere.

    Returns:
        Nats per target that counts, a scalar, float32 at least; NaN where none does.

    Raises:
        ValueError: shapes that do not match, or (on the CPU) a target outside the vocabulary.

    Example:
        >>> hidden, weight = torch.zeros(2, 4), torch.zeros(8, 4)
        >>> linear_cross_entropy(hidden, weight, torch.tensor([3, 5]))  # log 8
        tensor(2.0794)
    """
    _check_shapes("hidden", hidden, targets)
    if hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} must be (vocab_size, d_model) for hidden of "
            f"shape {tuple(hidden.shape)}"
        )
    _check_options(z_loss, logit_soft_cap)
    if chunk_tokens is None:
        chunk_tokens = 256 if hidden.device.type == "cpu" else 2048
    if chunk_tokens < 1:
        raise ValueError(f"{chunk_tokens=} must be positive")
    flat_targets = targets.flatten().long()
    _check_targets(flat_targets, ignore_index, len(weight))
    options = LossOptions(
        ignore_index=ignore_index,
        z_loss=z_loss,
        logit_soft_cap=logit_soft_cap,
        chunk_tokens=chunk_tokens,
        dtype=matmul_dtype(hidden),
        grad_hidden=torch.is_grad_enabled() and hidden.requires_grad,
        grad_weight=torch.is_grad_enabled() and weight.requires_grad,
    )
    loss: Tensor = ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]), weight, flat_targets, options
    )
    return loss


def _check_shapes(name: str, scores: Tensor, targets: Tensor) -> None:
    if targets.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"targets are {targets.dtype}; they must be int32 or int64")
    if scores.shape[:-1] != targets.shape:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} must match all axes but the last of {name} "
            f"of shape {tuple(scores.shape)}"
        )


def _check_options(z_loss: float, logit_soft_cap: float | None) -> None:
    if not 0 <= z_loss < math.inf:
        raise ValueError(f"{z_loss=} must be a number that is not negative")
    if logit_soft_cap is not None and not 0 < logit_soft_cap < math.inf:
        raise ValueError(f"{logit_soft_cap=} must be a positive number, or None")


def _check_targets(targets: Tensor, ignore_index: int, vocab_size: int) -> None:
    # On a GPU, to ask is to wait; there the look-up itself stops.
    if targets.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= vocab_size))
    if wrong.any():
        counted = targets[targets != ignore_index]
        raise ValueError(
            f"targets go from {int(counted.min())} to {int(counted.max())}; they must be from 0 "
            f"to {vocab_size - 1} ({vocab_size=})"
        )
