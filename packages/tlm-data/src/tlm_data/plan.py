"""What a prepare is to do: its jobs, and a fingerprint of all that decides the result."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tlm_data.shard_job import Recipe, ShardJob, Side
from tlm_data.slices import plan_slices
from tlm_data.sources import SourceFile


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
        """What decides the result beside the sources, as values that JSON knows."""
        cuts = [[job.side, *(r.num_bytes for r in job.ranges)] for job in self.jobs]
        return {
            **self.recipe.settings,
            "max_tokens": self.max_tokens,
            "slices": hashlib.sha256(json.dumps(cuts).encode()).hexdigest(),
        }

    @property
    def fingerprint(self) -> str:
        """A hash, in hex, that two plans have in common if their results are the same."""
        content = [self.settings, self.sources]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens={max_tokens} must be at least 1")
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
        jobs += [ShardJob(side, number, ranges) for number, ranges in enumerate(slices)]
    return Plan(recipe, tuple(jobs), max_tokens)
