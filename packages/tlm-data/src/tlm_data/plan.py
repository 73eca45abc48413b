"""What a prepare is to do: its jobs, and a fingerprint of all that decides the result."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlm_data.integers import whole_number
from tlm_data.shard_job import DocumentOptions, Recipe, ShardJob, Side
from tlm_data.slices import plan_slices
from tlm_data.sources import SourceFile
from tlm_data.tokenizer import DocumentTokenizer


@dataclass(frozen=True)
class Plan:
    """The jobs of a prepare, in the order of the text.

    Attributes:
        recipe: What they have in common.
        jobs: Those of training text, then those of validation text.
        max_tokens: Training tokens to make at most; None for no limit.
    """

    recipe: Recipe
    jobs: tuple[ShardJob, ...]
    max_tokens: int | None

    @property
    def sides(self) -> list[Side]:
        """The sides that are to have documents."""
        held_out = self.recipe.documents.val_fraction is not None
        has_val = held_out or any(job.side == "val" for job in self.jobs)
        return ["train", "val"] if has_val else ["train"]

    @property
    def sources(self) -> dict[str, list[dict[str, Any]]]:
        """The files of each side, as values that JSON knows."""
        files: dict[Side, dict[SourceFile, None]] = {side: {} for side in self.sides}
        for job in self.jobs:
            files[job.side].update(dict.fromkeys(piece.file for piece in job.ranges))
        return {side: [dataclasses.asdict(file) for file in some] for side, some in files.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the result, as values that JSON knows."""
        cuts = [[job.side, *(r.num_bytes for r in job.ranges)] for job in self.jobs]
        return {
            "sources": _hash(self.sources),
            **self.recipe.settings,
            "max_tokens": self.max_tokens,
            "slices": _hash(cuts),
        }

    @property
    def fingerprint(self) -> str:
        """A hash, in hex, that two plans have in common if their results are the same."""
        return _hash(self.settings)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def require_types(
    train_files: Sequence[SourceFile],
    val_files: Sequence[SourceFile],
    tokenizer: DocumentTokenizer,
    documents: DocumentOptions,
    max_tokens: int | None,
) -> None:
    """See that arguments are what they should be, before they fail far from where they came in.

    Raises:
        TypeError: One is not; the message says what to give.
    """
    for name, files in (("train_files", train_files), ("val_files", val_files)):
        is_list = isinstance(files, Sequence)
        if not is_list or not all(isinstance(file, SourceFile) for file in files):
            raise TypeError(
                f"{name} must be a list of SourceFile, which find_files([...]) returns, and not "
                f"{str(files)[:80]!r}"
            )
    if not hasattr(tokenizer, "encode_documents"):
        raise TypeError(
            "tokenizer must be a BpeTokenizer, made of a bpe-tok tokenizer or its folder, or a "
            f"FunctionTokenizer, and not {tokenizer!r:.80}"
        )
    if not isinstance(documents, DocumentOptions):
        raise TypeError(f"documents must be DocumentOptions, and not {documents!r:.80}")
    if max_tokens is not None:
        whole_number("max_tokens", max_tokens, 1)


def require_apart(train_files: Sequence[SourceFile], val_files: Sequence[SourceFile]) -> None:
    """See that no text is learned from that is also to be validated on.

    Raises:
        ValueError: A file is on both sides.
    """

    def place(file: SourceFile) -> tuple[str, int]:
        name = os.path.realpath(file.url) if file.is_local else file.url
        return name, file.offset_bytes

    known = set(map(place, train_files))
    for file in val_files:
        if place(file) in known:
            raise ValueError(
                f"{file.url} is among the training text and the validation text: leave it out of "
                "one, or hold out a val_fraction"
            )


def make_plan(
    recipe: Recipe,
    train_files: Sequence[SourceFile],
    val_files: Sequence[SourceFile],
    *,
    max_tokens: int | None = None,
    slice_bytes: int | None = None,
) -> Plan:
    """Divide the work into jobs.

    Args:
        recipe: What the jobs have in common.
        train_files: Text to learn from.
        val_files: Text for validation.
        max_tokens: Training tokens to make at most.
        slice_bytes: About how much a job reads; None: see `plan_slices`.

    Raises:
        ValueError: An option is out of its range, or validation is asked for twice.
    """
    if val_files and recipe.documents.val_fraction is not None:
        raise ValueError(
            f"val_fraction={recipe.documents.val_fraction} does not go with validation sources of "
            "their own: give one of the two"
        )
    jobs: list[ShardJob] = []
    sides: tuple[tuple[Side, Sequence[SourceFile]], ...] = (
        ("train", train_files),
        ("val", val_files),
    )
    for side, files in sides:
        slices = plan_slices(files, slice_bytes=slice_bytes)
        # No shard needs more than all tokens; how many the last one needs is known at the end.
        limit = max_tokens if side == "train" else None
        jobs += [ShardJob(side, number, ranges, limit) for number, ranges in enumerate(slices)]
    return Plan(recipe, tuple(jobs), max_tokens)
