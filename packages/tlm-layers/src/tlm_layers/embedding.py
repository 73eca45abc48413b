"""The table of token vectors."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlm_layers.initialize import truncated_normal_


class Embedding(nn.Module):
    """A table with one vector for each token id.

    The table starts as N(0, 1), cut at ±3.

    Args:
        num_embeddings: number of ids, the vocabulary's size.
        embedding_dim: width of a vector.
        device: where the table lives.
        dtype: type of the table.

    Raises:
        ValueError: a size that is not positive.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(f"{num_embeddings=} and {embedding_dim=} must be positive")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = nn.Parameter(
            torch.empty((num_embeddings, embedding_dim), device=device, dtype=dtype)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the table afresh."""
        truncated_normal_(self.weight, std=1.0)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Look vectors up.

        Args:
            token_ids: int32 or int64, (...).

        Returns:
            The rows of the table, (..., embedding_dim).

        Raises:
            TypeError: ids that are neither int32 nor int64.
            ValueError: an id outside the table. On the CPU only, where the look-up itself sees
                it; a GPU stops with a device-side assertion.
        """
        if token_ids.dtype not in (torch.int32, torch.int64):
            raise TypeError(f"token_ids are {token_ids.dtype}; they must be int32 or int64")
        try:
            return F.embedding(token_ids, self.weight)
        except IndexError:
            raise ValueError(
                f"token_ids go from {int(token_ids.min())} to {int(token_ids.max())}; they must "
                f"be from 0 to {self.num_embeddings - 1} (num_embeddings={self.num_embeddings})"
            ) from None

    def extra_repr(self) -> str:
        """The sizes, for `print(model)`."""
        return f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}"
