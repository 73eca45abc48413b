"""Shards that are finished become a corpus, which appears by one rename."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tlm_data.plan import Plan
from tlm_data.prepared import Prepared, SideSummary
from tlm_data.shard_job import Result, Side
from tlm_data.shard_writer import write_meta
from tlm_data.store_meta import META_FILE
from tlm_data.work_folder import WorkFolder


def publish(
    folder: WorkFolder, plan: Plan, results: Sequence[Result], val_fraction: float | None
) -> Prepared:
    """Make a corpus of the shards, and let it appear.

    Args:
        folder: Where they are.
        plan: What they were made by.
        results: What the jobs left whose shards belong to it, in order.
        val_fraction: The share that was asked for, for messages.

    Raises:
        ValueError: A side has no document.
    """
    tokenizer = plan.recipe.tokenizer
    dropped: Counter[str] = Counter()
    for result in results:
        dropped.update(result["dropped"])
    summary: dict[str, Any] = {
        "sides": {},
        "dropped": dict(sorted(dropped.items())),
        "num_replaced": sum(result["num_replaced"] for result in results),
        "num_shards": len(results),
    }
    files: set[Path] = set()
    for side in plan.sides:
        path = folder.corpus / side
        entries = [result["shards"][side] for result in results if side in result["shards"]]
        if not entries:
            folder.remove()
            raise ValueError(_no_documents(side, val_fraction, results, dropped))
        meta = write_meta(
            path,
            vocab_size=tokenizer.vocab_size,
            tokenizer_fingerprint=tokenizer.fingerprint,
            shards=entries,
        )
        summary["sides"][side] = {field.name: meta[field.name] for field in fields(SideSummary)}
        files |= {path / entry[kind] for entry in entries for kind in ("file", "index")}
        files.add(path / META_FILE)
    tokenizer_folder = folder.corpus / "tokenizer"
    shutil.rmtree(tokenizer_folder, ignore_errors=True)  # what a killed process left there
    tokenizer.save(tokenizer_folder)
    files |= set(tokenizer_folder.glob("*"))
    content = {
        "fingerprint": plan.fingerprint,
        "settings": plan.settings,
        "summary": summary,
        "sources": plan.sources,
    }
    folder.publish(content, files)
    return Prepared.of_summary(folder.out, summary, was_there=False)


def _no_documents(
    side: Side, fraction: float | None, results: Sequence[Result], dropped: Counter[str]
) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    left_out = f" (left out: {why})" if why else ""
    if side == "train" and fraction is not None and any(r["shards"] for r in results):
        return (
            f"val_fraction={fraction} leaves no document to train on{left_out}: lower it, or give "
            "validation text of its own"
        )
    if side == "train":
        return f"there is no document to train on{left_out}: give files with text in them"
    if fraction is None:
        return f"there is no document in the validation text{left_out}: give files with text"
    return (
        f"val_fraction={fraction} holds out no document, there are too few of them{left_out}: "
        "raise it, or give validation text of its own"
    )
