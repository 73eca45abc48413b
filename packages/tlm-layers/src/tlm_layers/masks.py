"""Which token may see which: masks in full, to read and to test against, and document ids."""

import torch
from torch import Tensor


def causal_mask(seq: int, device: torch.device | str | None = None) -> Tensor:
    """Each token sees itself and those before it.

    Args:
        seq: number of tokens.
        device: where the mask lives.

    Returns:
        bool, (seq, seq): row i is True where token i may look.

    Example:
        >>> causal_mask(3).int()
        tensor([[1, 0, 0],
                [1, 1, 0],
                [1, 1, 1]], dtype=torch.int32)
    """
    return torch.ones(seq, seq, dtype=torch.bool, device=device).tril()


def sliding_window_mask(
    seq: int, window_size: int, device: torch.device | str | None = None
) -> Tensor:
    """Each token sees itself and the `window_size` − 1 tokens before it.

    Args:
        seq: number of tokens.
        window_size: tokens seen, at least 1.
        device: where the mask lives.

    Returns:
        bool, (seq, seq).

    Example:
        >>> sliding_window_mask(4, 2).int()
        tensor([[1, 0, 0, 0],
                [1, 1, 0, 0],
                [0, 1, 1, 0],
                [0, 0, 1, 1]], dtype=torch.int32)
    """
    return causal_mask(seq, device).triu(1 - window_size)


def strided_mask(seq: int, stride: int, device: torch.device | str | None = None) -> Tensor:
    """Each token sees the last `stride` tokens, and every `stride`-th before them.

    Args:
        seq: number of tokens.
        stride: the window, and the distance of the tokens beyond it, at least 1.
        device: where the mask lives.

    Returns:
        bool, (seq, seq).

    Example:
        >>> strided_mask(6, 2).int()
        tensor([[1, 0, 0, 0, 0, 0],
                [1, 1, 0, 0, 0, 0],
                [1, 1, 1, 0, 0, 0],
                [0, 1, 1, 1, 0, 0],
                [1, 0, 1, 1, 1, 0],
                [0, 1, 0, 1, 1, 1]], dtype=torch.int32)
    """
    place = torch.arange(seq, device=device)
    distance = place[:, None] - place
    return causal_mask(seq, device) & ((distance < stride) | (distance % stride == 0))


def document_mask(documents: Tensor) -> Tensor:
    """Each token sees those of its own document, before and after it.

    Args:
        documents: int, (..., seq), from `document_runs`.

    Returns:
        bool, (..., seq, seq).

    Example:
        >>> document_mask(torch.tensor([0, 0, 1])).int()
        tensor([[1, 1, 0],
                [1, 1, 0],
                [0, 0, 1]], dtype=torch.int32)
    """
    return documents.unsqueeze(-1) == documents.unsqueeze(-2)


def document_runs(document_ids: Tensor) -> Tensor:
    """Number the documents of packed rows 0, 1, 2, … in their order.

    Tokens side by side with the same id are one document; an id that comes back after another is
    a new document.

    Args:
        document_ids: int, (..., seq).

    Returns:
        int64, (..., seq).

    Example:
        >>> document_runs(torch.tensor([7, 7, 3, 3, 7]))
        tensor([0, 0, 1, 1, 2])
    """
    starts = torch.zeros_like(document_ids, dtype=torch.int64)
    starts[..., 1:] = document_ids[..., 1:] != document_ids[..., :-1]
    return starts.cumsum(-1)
