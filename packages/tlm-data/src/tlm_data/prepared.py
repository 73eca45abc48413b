"""What a prepare did, and what the corpus holds."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SideSummary:
    """What one side of a corpus holds.

    Attributes:
        num_documents: Documents.
        num_bytes: Bytes of their text.
        num_tokens: Tokens, end tokens included.
        longest_document_tokens: Tokens of the longest document.
    """

    num_documents: int
    num_bytes: int
    num_tokens: int
    longest_document_tokens: int

    @property
    def bytes_per_token(self) -> float:
        """How much text a token stands for."""
        return self.num_bytes / max(self.num_tokens, 1)


@dataclass(frozen=True)
class Prepared:
    """What a prepare did.

    Attributes:
        path: The corpus's folder.
        is_complete: Whether it is there; another rank may still be at work.
        was_there: Whether it was there before.
        sides: What it holds, by side.
        dropped: How many documents were left out, by reason.
        num_replaced: Documents in which bytes were replaced.
        shards_done: How many shards are finished.
        num_shards: How many there are to be.
    """

    path: Path
    is_complete: bool
    was_there: bool = False
    sides: dict[str, SideSummary] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    num_replaced: int = 0
    shards_done: int = 0
    num_shards: int = 0

    @classmethod
    def of_summary(cls, path: Path, summary: dict[str, Any], *, was_there: bool) -> "Prepared":
        """Return what the summary in a corpus's `prepare.json` says."""
        return cls(
            path,
            is_complete=True,
            was_there=was_there,
            sides={side: SideSummary(**counts) for side, counts in summary["sides"].items()},
            dropped=summary["dropped"],
            num_replaced=summary["num_replaced"],
            shards_done=summary["num_shards"],
            num_shards=summary["num_shards"],
        )
