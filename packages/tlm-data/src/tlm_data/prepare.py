"""From raw text to a corpus: token stores for training and validation, and their tokenizer."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from pathlib import Path

from tlm_data.engines import Engine, EngineName, start_engine
from tlm_data.lone_document import is_one_document
from tlm_data.make_shard import make_shard
from tlm_data.plan import Plan, make_plan, require_apart, require_types
from tlm_data.prepared import Prepared
from tlm_data.publish import publish
from tlm_data.shard_job import DocumentOptions, Recipe, Result, ShardJob, Side
from tlm_data.sources import SourceFile
from tlm_data.splits import split_within_files
from tlm_data.tokenizer import DocumentTokenizer
from tlm_data.work_folder import WorkFolder

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the stage, and how much of it is done and of how much."""

_REPORT_SECONDS = 0.1


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
        return Prepared.of_summary(folder.out, found["summary"], was_there=True)
    progress = _Progress(plan, on_progress)
    # Made before anything is on the disk, since it looks at its options.
    started = start_engine(
        engine,
        make_shard,
        recipe,
        num_workers=num_workers,
        ray_address=ray_address,
        on_report=progress.report,
    )
    at_work = folder.at_work(rank, world_size, fingerprint, plan.settings)
    with at_work as lock, started as running:
        if found := folder.published(fingerprint):  # by another process, meanwhile
            folder.remove()
            return Prepared.of_summary(folder.out, found["summary"], was_there=True)
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
            prepared = publish(folder, plan, [work.results[job] for job in work.needed], fraction)
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
