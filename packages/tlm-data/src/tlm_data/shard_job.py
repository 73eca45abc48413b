"""The unit of preparing: which slice of the sources becomes which shard, and what decides it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tlm_data.read_options import ReadOptions
from tlm_data.slices import FileRange
from tlm_data.tokenizer import DocumentTokenizer

Side = Literal["train", "val"]
Result = dict[str, Any]
"""What a job leaves as its manifest: `job` (its fingerprint), `shards` (the `meta.json` entry of
the shard of each side, where there is one), `dropped` (how many documents, by reason) and
`num_replaced` (documents in which bytes were replaced)."""


@dataclass(frozen=True, kw_only=True)
class DocumentOptions:
    """Which documents are taken, and how they are read.

    Attributes:
        read: How documents are read.
        min_document_bytes: Shorter documents are dropped.
        max_document_bytes: Longer documents are dropped; None for no limit.
        val_fraction: Share of the documents held out for validation, by a hash of each; None for
            none.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    min_document_bytes: int = 0
    max_document_bytes: int | None = None
    val_fraction: float | None = None

    def __post_init__(self) -> None:
        if self.min_document_bytes < 0:
            raise ValueError(f"min_document_bytes={self.min_document_bytes} must not be negative")
        if self.max_document_bytes is not None and self.max_document_bytes < max(
            self.min_document_bytes, 1
        ):
            raise ValueError(
                f"max_document_bytes={self.max_document_bytes} must be at least 1 and not less "
                f"than min_document_bytes={self.min_document_bytes}"
            )
        if self.val_fraction is not None and not 0 < self.val_fraction < 1:
            raise ValueError(f"val_fraction={self.val_fraction} must lie between 0 and 1")

    @property
    def too_short(self) -> str:
        """The reason for which short documents are dropped."""
        return f"shorter than {self.min_document_bytes} bytes"

    @property
    def too_long(self) -> str:
        """The reason for which long documents are dropped."""
        return f"longer than {self.max_document_bytes} bytes"


@dataclass(frozen=True)
class Recipe:
    """What all jobs of a corpus have in common; sent to each worker once.

    Attributes:
        folder: Where `train/`, `val/` and `manifests/` are.
        tokenizer: Encodes the documents.
        documents: Which of them.
    """

    folder: Path
    tokenizer: DocumentTokenizer
    documents: DocumentOptions

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the ids, as values that JSON knows."""
        documents = dataclasses.asdict(self.documents)
        return {
            "tokenizer": self.tokenizer.fingerprint,
            **self.tokenizer.settings,
            **documents.pop("read"),
            **documents,
        }


@dataclass(frozen=True)
class ShardJob:
    """One piece of the work.

    Attributes:
        side: What its documents are for; those that are held out go to the other side.
        number: Its shard's number.
        ranges: What to read.
        max_tokens: Stop after so many tokens; None for no limit.
    """

    side: Side
    number: int
    ranges: tuple[FileRange, ...]
    max_tokens: int | None = None

    @property
    def name(self) -> str:
        """The name of its shards' files, without suffix."""
        return f"shard-{self.number:05d}"

    @property
    def num_bytes(self) -> int:
        """How much it reads, as stored."""
        return sum(piece.num_bytes for piece in self.ranges)

    def __str__(self) -> str:
        first = self.ranges[0]
        more = f" and {len(self.ranges) - 1} more files" if len(self.ranges) > 1 else ""
        part = "" if first.num_bytes == first.file.size_bytes else f" from byte {first.start}"
        return f"{first.file.url}{part}{more}"

    def fingerprint(self, recipe: Recipe) -> str:
        """Return a hash, in hex, of all that decides the shard's bytes."""
        content = [recipe.settings, dataclasses.asdict(self)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def manifest_path(self, recipe: Recipe) -> Path:
        """Return where the result is kept, written when the shard is complete."""
        return recipe.folder / "manifests" / f"{self.side}-{self.number:05d}.json"

    def finished(self, recipe: Recipe) -> Result | None:
        """Return the result if the job was done before and its shards are still there."""
        try:
            result = json.loads(self.manifest_path(recipe).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(result, dict) or result.get("job") != self.fingerprint(recipe):
            return None
        item_bytes = 2 if recipe.tokenizer.vocab_size <= 1 << 16 else 4
        for side, entry in result["shards"].items():
            for name, size in (
                (entry["file"], entry["num_tokens"] * item_bytes),
                (entry["index"], (entry["num_documents"] + 1) * 8),
            ):
                path = recipe.folder / side / name
                if not path.is_file() or path.stat().st_size != size:
                    return None
        return result
