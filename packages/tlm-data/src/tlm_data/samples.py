"""What batches are made of: rows of tokens that are found by their number."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch

_NUMBERS_END = 1 << 62

IGNORE = -100
"""Target of a position that counts for nothing, as torch's and tlm-layers' losses have it."""


class Batch(NamedTuple):
    """Rows for a model."""

    inputs: torch.Tensor
    """Token ids, int64 (batch, context_length)."""
    targets: torch.Tensor
    """The token after each input, int64 (batch, context_length); `IGNORE` in padding."""
    document_ids: torch.Tensor | None = None
    """Where the document of each input begins in the row, int32 (batch, context_length), and so
    one number for each document; padding counts as a document. None where rows are not divided
    into documents."""

    @property
    def positions(self) -> torch.Tensor | None:
        """The position of each input in its document, int32 (batch, context_length), or None."""
        if self.document_ids is None:
            return None
        places = torch.arange(
            self.document_ids.shape[1], dtype=torch.int32, device=self.document_ids.device
        )
        return places - self.document_ids

    def to(self, device: str | torch.device) -> "Batch":
        """Return the batch on a device.

        To a CUDA device it goes through pinned memory, and the CPU does not wait for it.
        """
        pin = torch.device(device).type == "cuda"
        return Batch(
            *(
                (part.pin_memory() if pin else part).to(device, non_blocking=pin)
                for part in self
                if part is not None
            )
        )


class Samples(ABC):
    """An order of rows, in which the row of each number depends on the settings alone.

    Samples pickle as what they are made of, a store by its path, and so may go to other processes.

    Attributes:
        context_length: Tokens in a row.
        has_documents: Whether rows are divided into documents, with `Batch.document_ids`.
        num_samples: Number of rows; None where they go on without end.
    """

    context_length: int
    has_documents: bool = False
    num_samples: int | None = None

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return what the rows depend on, as JSON; equal settings give equal rows."""

    @abstractmethod
    def rows(self, numbers: range) -> Batch:
        """Return rows by their numbers, on the CPU.

        Args:
            numbers: Consecutive numbers from 0, below `num_samples` where there is one, and below
                2**62.
        """

    def cursor(self, number: int) -> Any:
        """Return, as JSON, what makes `rows` find its way to a number at once."""
        return None

    def seek(self, cursor: Any) -> None:
        """Take a cursor of samples with the same settings; most have none.

        Raises:
            ValueError: It is no cursor of such samples.
        """
        if cursor is not None:
            raise ValueError(f"cursor={cursor!r} must be None for {type(self).__name__}")


def concatenate(batches: list[Batch]) -> Batch:
    """Return the rows of some batches of one kind as one batch."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        *(torch.cat(parts) for parts in zip(*batches, strict=True) if parts[0] is not None)
    )


def require_range(numbers: range, end: int | None = None) -> None:
    """Raise ValueError unless `numbers` are consecutive, from 0 on and below an end."""
    end = _NUMBERS_END if end is None else end
    if numbers.step != 1 or numbers.start < 0 or numbers.stop > end:
        raise ValueError(f"numbers={numbers} must be consecutive, from 0 on and below {end}")
