"""The folder where a corpus is made, and the one rename by which it appears.

Beside the corpus `OUT` it is `.OUT.partial`: `plan.json` says what is being made, `corpus/` becomes
`OUT`, `corpus/train/` and `corpus/val/` take the shards, `corpus/manifests/` (which is not
published) says which of them are complete.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tlm_data import atomic

CORPUS_FILE = "prepare.json"
FORMAT = "tlm-corpus"
VERSION = 1


class CorpusExistsError(ValueError):
    """The place of the corpus is taken by something else."""


@dataclass(frozen=True)
class WorkFolder:
    """Where the corpus `out` is made.

    Attributes:
        out: The corpus's folder, absolute.
    """

    out: Path

    @classmethod
    def beside(cls, out: str | Path) -> "WorkFolder":
        """Return the work folder of a corpus.

        Raises:
            ValueError: `out` is a root, beside which there is nothing.
        """
        path = Path(os.path.abspath(out))  # noqa: PTH100  (resolve would follow a link)
        if not path.name:
            raise ValueError(f"out={out} must be a new folder: add a name to it")
        return cls(path)

    @property
    def path(self) -> Path:
        """The work folder."""
        return self.out.with_name(f".{self.out.name}.partial")

    @property
    def corpus(self) -> Path:
        """The folder that becomes the corpus."""
        return self.path / "corpus"

    @property
    def manifests(self) -> Path:
        """The folder of what is complete."""
        return self.corpus / "manifests"

    def published(self, fingerprint: str) -> dict[str, Any] | None:
        """Return the content of the corpus's `prepare.json`, or None if there is no corpus yet.

        Raises:
            CorpusExistsError: At its place is another corpus, or something else.
        """
        if not os.path.lexists(self.out):
            return None
        found = read_corpus_file(self.out)
        if found is None:
            raise CorpusExistsError(
                f"{self.out} exists and is not a corpus: choose another name for it"
            )
        if found.get("fingerprint") != fingerprint:
            raise CorpusExistsError(
                f"{self.out} was prepared from other text or with other settings: choose another "
                "name, or remove it first"
            )
        return found

    @contextmanager
    def at_work(
        self, rank: int, world_size: int, fingerprint: str, settings: dict[str, Any]
    ) -> Iterator[FileLock]:
        """Keep others from the same work while the block runs, and make the folders for it.

        Yields:
            The lock, for `leaving`. If the corpus is there by now, nothing was made.

        Raises:
            ValueError: Another process is at it, or the folder belongs to another plan.
        """
        own = FileLock(self.path / f"rank-{rank}-of-{world_size}.lock")
        with self._gate():
            # Ranks of one array work side by side; those of another one would do the same work.
            same_array = set(self.path.glob(f"rank-*-of-{world_size}.lock"))
            others = sorted(set(self.path.glob("rank-*.lock")) - same_array)
            for path in (Path(own.lock_file), *others):
                if _is_held(path):
                    raise ValueError(
                        f"another process prepares {self.out} right now ({path.name}): wait for "
                        "it, or choose another name"
                    )
            if self.published(fingerprint) is None:
                self._begin(fingerprint, settings)
            own.acquire(timeout=0)
        try:
            yield own
        finally:
            own.release()

    @contextmanager
    def leaving(self, own: FileLock) -> Iterator[bool]:
        """End the work of one process, and tell the block whether no other is at work.

        If so, none begins while the block runs: it alone may publish the corpus. Of processes that
        end at about the same time one is the last, and it sees what all others did.
        """
        with self._gate():
            own.release()
            yield not self._is_busy()

    @contextmanager
    def _gate(self) -> Iterator[None]:
        """Let one process at a time begin or end."""
        gate = FileLock(self.path / "gate.lock")
        while True:
            self.path.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                gate.acquire()
            if gate.is_locked and Path(gate.lock_file).exists():
                break
            gate.release()  # whoever had it published the corpus and removed the folder
        try:
            yield
        finally:
            gate.release()

    def _is_busy(self) -> bool:
        return any(map(_is_held, self.path.glob("rank-*.lock")))

    def _begin(self, fingerprint: str, settings: dict[str, Any]) -> None:
        """Make the folders, or see that what is there belongs to the same plan.

        Raises:
            ValueError: It belongs to another one, which has finished shards or is being made.
        """
        plan_path = self.path / "plan.json"
        try:
            plan = json.loads(plan_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            plan = {}
        if plan.get("fingerprint") != fingerprint:
            if self._is_busy() or any(self.manifests.glob("*.json")):
                raise ValueError(
                    f"{self.path} holds an unfinished corpus "
                    f"{_difference(plan.get('settings', {}), settings)}: go on with that, or "
                    "remove that folder"
                )
            shutil.rmtree(self.corpus, ignore_errors=True)
            content = {"fingerprint": fingerprint, "settings": settings}
            atomic.write_file(plan_path, json.dumps(content, indent=1))
        for name in ("train", "val", "manifests"):
            (self.corpus / name).mkdir(parents=True, exist_ok=True)

    def publish(self, content: dict[str, Any], files: set[Path]) -> None:
        """Let the corpus appear.

        Args:
            content: Goes into `prepare.json`.
            files: The files and folders that belong to it; all others are removed.
        """
        content = {"format": FORMAT, "version": VERSION, **content}
        description = self.corpus / CORPUS_FILE
        atomic.write_file(description, json.dumps(content, indent=1) + "\n")
        self._remove_others({*files, description})
        atomic.fsync_path(self.corpus)
        self.corpus.rename(self.out)
        atomic.fsync_path(self.out.parent)
        self.remove()

    def _remove_others(self, files: set[Path]) -> None:
        """Remove what no reader needs: manifests, shards beyond the last token, leftovers."""
        needed = files | {parent for file in files for parent in file.parents}
        for path in sorted(self.corpus.rglob("*"), reverse=True):
            if path in needed:
                continue
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.path, ignore_errors=True)


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Say in what the settings of an unfinished corpus differ from those that are wanted."""
    names = [name for name in wanted if wanted[name] != found.get(name)]
    if not found or "sources" in names:
        return "of other text, or of files that have changed since"
    hashes = {"tokenizer": "another tokenizer", "slices": "another slice_bytes"}
    return "with " + ", ".join(
        hashes.get(name, f"{name}={found.get(name)} (and not {wanted[name]})") for name in names
    )


def _is_held(path: Path) -> bool:
    """Tell whether a process holds a lock."""
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def read_corpus_file(folder: Path) -> dict[str, Any] | None:
    """Return the content of a corpus's `prepare.json`, or None if there is none to read."""
    try:
        found = json.loads((folder / CORPUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return None
    return found
