"""Rows cut into blocks, each of which sees itself and the block before it."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cut(x: Tensor, size: int) -> Tensor:
    """Cut a row into blocks, the last one padded with zeros.

    Args:
        x: (..., seq, d).
        size: tokens in a block.

    Returns:
        (..., blocks, size, d).
    """
    blocks = (x.shape[-2] + size - 1) // size
    padded = F.pad(x, (0, 0, 0, blocks * size - x.shape[-2]))
    return torch.unflatten(padded, -2, (blocks, size))


def join(blocks: Tensor, seq: int) -> Tensor:
    """Put blocks together and drop the padding.

    Args:
        blocks: (..., blocks, size, d).
        seq: tokens of the row.

    Returns:
        (..., seq, d).
    """
    padded = blocks.flatten(-3, -2)
    if torch.compiler.is_compiling():  # a slice is another graph where it cuts nothing off
        return padded.index_select(-2, torch.arange(seq, device=padded.device))
    return padded[..., :seq, :]


def with_previous(blocks: Tensor) -> Tensor:
    """Put before each block the one before it; before the first, zeros.

    Args:
        blocks: (..., blocks, size, d).

    Returns:
        (..., blocks, 2 · size, d).
    """
    previous = F.pad(blocks, (0, 0, 0, 0, 1, 0))[..., :-1, :, :]
    return torch.cat((previous, blocks), dim=-2)


def local_mask(
    seq: int,
    size: int,
    window_size: int,
    documents: Tensor | None,
    device: torch.device,
) -> Tensor:
    """Which tokens of its own block and the one before a token sees: the last `window_size`.

    Args:
        seq: tokens of the row.
        size: tokens in a block.
        window_size: tokens seen, itself included; at most size + 1.
        documents: int, (..., seq); None: each row is one document.
        device: where the mask lives.

    Returns:
        bool, (blocks, size, 2 · size), or (..., blocks, size, 2 · size) with documents. A token
        of the padding sees itself.
    """
    blocks = (seq + size - 1) // size
    query = torch.arange(blocks * size, device=device).view(blocks, size, 1)
    key = query.view(blocks, 1, size)
    key = torch.cat((key - size, key), dim=-1)  # (blocks, 1, 2 · size)
    mask = (key >= 0) & (key <= query) & (query - key < window_size)
    if documents is None:
        return mask
    own = cut(documents.unsqueeze(-1), size)  # (..., blocks, size, 1)
    return mask & (own == with_previous(own).mT)
