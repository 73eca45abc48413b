"""From raw text to a corpus: token stores for training and validation, and their tokenizer."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from tlm_data.engines import Engine, EngineName, start_engine
from tlm_data.lone_document import is_one_document
from tlm_data.plan import Plan, make_plan, require_apart, require_types
from tlm_data.shard_job import DocumentOptions, Recipe, Result, ShardJob, Side, run_job
from tlm_data.shard_writer import write_meta
from tlm_data.sources import SourceFile
from tlm_data.splits import split_within_files
from tlm_data.store_meta import META_FILE
from tlm_data.tokenizer import DocumentTokenizer
from tlm_data.work_folder import WorkFolder

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the stage, and how much of it is done and of how much."""

_REPORT_SECONDS = 0.1


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


def prepare_files(
    train_files: Sequence[SourceFile],
    out: str | Path,
    *,
    tokenizer: DocumentTokenizer,
    val_files: Sequence[SourceFile] = (),
    documents: DocumentOptions | None = None,
    max_tokens: int | None = None,
    slice_bytes: int | None = None,
    engine: EngineName = "inprocess",
    num_workers: int | None = None,
    ray_address: str | None = None,
    rank: int = 0,
    world_size: int = 1,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Prepared:
    """Tokenize text of any size into a corpus, which appears under its name when it is complete.

    The text is divided into slices, each of which becomes a shard. When this is stopped or killed,
    the same call goes on where it was. The corpus is the same, byte for byte, whatever the engine,
    the number of workers or ranks, and the interruptions.

    It is a folder with `tokenizer/`, `train/`, `val/` if validation text was asked for, and
    `prepare.json`, which says what it was made of.

    Args:
        train_files: Text to learn from, as `find_files` lists it.
        out: The corpus's folder. If it is there and was made by the same call, nothing is done.
        tokenizer: Encodes the documents.
        val_files: Text for validation.
        documents: Which documents are taken, and how they are read. A `val_fraction` holds out
            documents of the training text; of a lone plain text file without a separator in it,
            the tail.
        max_tokens: Training tokens to make at most; the last document is cut there. Text that has
            fewer is taken whole.
        slice_bytes: About how much text goes into a shard; None: see `plan_slices`.
        engine: `inprocess`, `processes` or `ray`.
        num_workers: How many shards to work on at a time; None: as many as there are CPUs.
        ray_address: The Ray cluster, as for `ray.init`.
        rank: Which part of a job array this process is; each does every `world_size`-th shard,
            and the last to finish publishes the corpus.
        world_size: How many parts there are.
        on_progress: Called often, with bytes of source files; possibly from another thread.

    Raises:
        ValueError: Something about the options or the text is wrong, there is no text on a side, or
            another process is at the same work.
        TypeError: An argument is of another type than it should be.
        OSError: A file cannot be read or written.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank={rank} must lie between 0 and world_size - 1 = {world_size - 1}")
    documents = DocumentOptions() if documents is None else documents
    require_types(train_files, val_files, tokenizer, documents, max_tokens)
    require_apart(train_files, val_files)
    folder = WorkFolder.beside(out)
    fraction, separator = documents.val_fraction, documents.read.separator
    if fraction is not None and not val_files and is_one_document(train_files, separator):
        # Wherever it is cut, a mark at its end is all that there is of the separator.
        train_files, val_files = split_within_files(train_files, fraction, None)
        documents = replace(documents, val_fraction=None)
    recipe = Recipe(folder.corpus, tokenizer, documents)
    plan = make_plan(recipe, train_files, val_files, max_tokens=max_tokens, slice_bytes=slice_bytes)
    fingerprint = plan.fingerprint
    if found := folder.published(fingerprint):
        folder.remove()
        return _prepared(folder.out, found["summary"], was_there=True)
    progress = _Progress(plan, on_progress)
    # Made before anything is on the disk, since it looks at its options.
    started = start_engine(
        engine,
        run_job,
        recipe,
        num_workers=num_workers,
        ray_address=ray_address,
        on_report=progress.report,
    )
    at_work = folder.at_work(rank, world_size, fingerprint, plan.settings)
    with at_work as lock, started as running:
        if found := folder.published(fingerprint):  # by another process, meanwhile
            folder.remove()
            return _prepared(folder.out, found["summary"], was_there=True)
        work = _Work(plan, progress)
        work.run(running, [job for job in plan.jobs if job.number % world_size == rank])
        with folder.leaving(lock) as is_last:
            if not (work.is_complete and is_last):
                return Prepared(
                    folder.out,
                    is_complete=False,
                    shards_done=len(work.results),
                    num_shards=len(plan.jobs),
                )
            work.cut_at_last_token(running)
            prepared = _publish(folder, work, fraction)
        progress.end()
        return prepared


class _Work:
    """The jobs of a plan, and the results of those that are done."""

    def __init__(self, plan: Plan, progress: "_Progress") -> None:
        self.plan = plan
        self.results: dict[ShardJob, Result] = {}
        self._progress = progress
        # The jobs from the first one on, without a gap, that are done and too few.
        self._num_counted = 0
        self._counted_tokens = 0
        for job in plan.jobs:
            self._look_for(job)

    def _look_for(self, job: ShardJob) -> None:
        """Take the result of a job that was done before, or by another rank."""
        if job not in self.results and (result := job.finished(self.plan.recipe)) is not None:
            self._take(job, result)

    def _take(self, job: ShardJob, result: Result) -> None:
        self.results[job] = result
        self._progress.finish(job, result)

    def run(self, engine: Engine, jobs: Sequence[ShardJob]) -> None:
        """Do those jobs that are needed and not done."""
        waiting = [job for job in jobs if job not in self.results]
        running: dict[Future[Result], ShardJob] = {}
        try:
            while waiting or running:
                while waiting and len(running) < engine.max_submitted:
                    job = waiting.pop(0)
                    if self._is_needed(job):
                        running[engine.submit(job)] = job
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    # What is wrong with text beyond the last token is not found by others either.
                    if future.exception() is None or self._is_needed(job):
                        self._take(job, future.result())
        finally:
            for future in running:
                future.cancel()

    def _last_job(self) -> tuple[ShardJob, int] | None:
        """Return the job in which `max_tokens` is reached, and how many tokens before it."""
        if self.plan.max_tokens is None:
            return None
        for job in self.plan.jobs[self._num_counted :]:
            self._look_for(job)  # another rank may have done it
            if job.side != "train" or job not in self.results:
                return None
            num_tokens = _num_tokens(self.results[job], "train")
            if self._counted_tokens + num_tokens >= self.plan.max_tokens:
                return job, self._counted_tokens
            self._num_counted += 1
            self._counted_tokens += num_tokens
        return None

    def _is_needed(self, job: ShardJob) -> bool:
        last = self._last_job()
        return last is None or job.side != "train" or job.number <= last[0].number

    @property
    def needed(self) -> list[ShardJob]:
        """The jobs whose shards are a part of the corpus."""
        return [job for job in self.plan.jobs if self._is_needed(job)]

    @property
    def is_complete(self) -> bool:
        """Whether all jobs that are needed are done, here or elsewhere."""
        for job in self.plan.jobs:
            self._look_for(job)
        return all(job in self.results for job in self.needed)

    def cut_at_last_token(self, engine: Engine) -> None:
        """Do the last job again, up to the last token that is wanted."""
        if (last := self._last_job()) is not None:
            job, before = last
            assert self.plan.max_tokens is not None
            cut = replace(job, max_tokens=self.plan.max_tokens - before)
            self.results[job] = engine.submit(cut).result()


class _Progress:
    """Adds up how far the jobs are, in bytes of source files."""

    def __init__(self, plan: Plan, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._total = sum(job.num_bytes for job in plan.jobs)
        self._done: dict[ShardJob, int] = {}
        self._lock = threading.Lock()
        self._last_report = 0.0

    def report(self, job: ShardJob, num_bytes: int) -> None:
        """Take note of how much of a job is done, in bytes of text."""
        # The text of packed files is longer than they are; a long document may go beyond a slice.
        self._set(job, num_bytes if _is_plain(job) else min(num_bytes, job.num_bytes))

    def finish(self, job: ShardJob, result: Result) -> None:
        """Take note that a job is done."""
        num_bytes = sum(entry["num_bytes"] for entry in result["shards"].values())
        self._set(job, num_bytes if _is_plain(job) else job.num_bytes)

    def end(self) -> None:
        """Take note that all is done."""
        self._on_progress("encode", self._total, self._total)

    def _set(self, job: ShardJob, num_bytes: int) -> None:
        with self._lock:
            self._done[job] = num_bytes
            now = time.monotonic()
            if now - self._last_report > _REPORT_SECONDS:
                self._last_report = now
                self._on_progress("encode", min(sum(self._done.values()), self._total), self._total)


def _is_plain(job: ShardJob) -> bool:
    return all(r.file.format == "text" and r.file.compression == "none" for r in job.ranges)


def _num_tokens(result: Result, side: Side) -> int:
    entry = result["shards"].get(side)
    return entry["num_tokens"] if entry else 0


def _publish(folder: WorkFolder, work: _Work, val_fraction: float | None) -> Prepared:
    """Make a corpus of the shards, and let it appear.

    Args:
        folder: Where they are.
        work: What was done.
        val_fraction: The share that was asked for, for messages.
    """
    plan = work.plan
    tokenizer = plan.recipe.tokenizer
    results = [work.results[job] for job in work.needed]
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
    return _prepared(folder.out, summary, was_there=False)


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


def _prepared(path: Path, summary: dict[str, Any], *, was_there: bool) -> Prepared:
    return Prepared(
        path,
        is_complete=True,
        was_there=was_there,
        sides={side: SideSummary(**counts) for side, counts in summary["sides"].items()},
        dropped=summary["dropped"],
        num_replaced=summary["num_replaced"],
        shards_done=summary["num_shards"],
        num_shards=summary["num_shards"],
    )
