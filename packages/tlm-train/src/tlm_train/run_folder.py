"""The folder of a run: what is where, who may write to it, and what it can be resumed from."""

import dataclasses
import datetime
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from tlm_data import Corpus, atomic

from tlm_train.checkpoint import CheckpointError, check_step, remove_unfinished, steps_on_disk
from tlm_train.config import RunConfig, load_config, to_toml


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.toml"

    @property
    def corpus(self) -> Path:
        """Which prepared corpus the run reads, and its fingerprints."""
        return self.path / "corpus.json"

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder."""
        return self.path / "tokenizer"

    @property
    def metrics(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Texts that the model wrote at each evaluation."""
        return self.path / "samples.txt"

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @classmethod
    def create(cls, path: Path | None, config: RunConfig, corpus: Corpus) -> "RunFolder":
        """Make a run's folder, with its config and tokenizer.

        Args:
            path: The folder; must not exist. None: `runs/` and the date and time.
            config: The resolved config; `log.run_dir` is left out, so that it runs again elsewhere.
            corpus: What the run reads.

        Raises:
            FileExistsError: `path` exists.
        """
        if path is None:
            now = datetime.datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
            path = Path("runs") / now
            number = 1
            while path.exists():
                number += 1
                path = Path("runs") / f"{now}_{number}"
        else:
            refuse_existing(path)
        log = dataclasses.replace(config.log, run_dir=None)
        text = to_toml(dataclasses.replace(config, log=log))
        with atomic.new_folder(path) as folder:
            run = cls(folder)
            run.checkpoints.mkdir()
            corpus.tokenizer.save(run.tokenizer)
            run.config.write_text(text, encoding="utf-8")
            described = {"path": str(corpus.path.resolve()), **corpus.fingerprints}
            run.corpus.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", RunConfig]:
        """Open an existing run.

        Raises:
            ValueError: `path` is not the folder of a run, or its config is damaged.
        """
        run = cls(path)
        if not run.config.is_file():
            reason = "config.toml is missing" if path.is_dir() else "there is no such folder"
            raise ValueError(f"{path} is not a run: {'it is a file' if path.is_file() else reason}")
        return run, load_config(run.config)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training in this folder during the block.

        Raises:
            ValueError: Another process trains in it now.
        """
        try:
            with FileLock(self.path / ".lock", timeout=0):
                remove_unfinished(self.checkpoints)
                yield
        except Timeout:
            raise ValueError(f"another process is training in {self.path}: wait for it") from None

    def find_corpus(self, *, verify: bool = True) -> Corpus | None:
        """Open the prepared corpus that the run began with; None if it is no longer there.

        Args:
            verify: Read all of it, to see that it is whole.

        Raises:
            ValueError: What is there now is another corpus, or it is damaged.
        """
        path = Path(json.loads(self.corpus.read_text(encoding="utf-8"))["path"])
        if not path.exists():
            return None
        corpus = Corpus.open(path, verify=verify)
        self.require_corpus(corpus)
        return corpus

    def require_corpus(self, corpus: Corpus) -> None:
        """Raise ValueError unless a corpus is, token for token, the one that the run began with."""
        described = json.loads(self.corpus.read_text(encoding="utf-8"))
        for name, fingerprint in corpus.fingerprints.items():
            if described[name] != fingerprint:
                raise ValueError(
                    f"the {name} of {corpus.path} is not what {self.path} began with: bring the "
                    "text of the data section of its config.toml back as it was, or start a new run"
                )

    def latest_checkpoint(self) -> tuple[Path | None, list[str]]:
        """Find the newest whole checkpoint.

        Returns:
            The checkpoint, None where there is none, and what is wrong with each newer one.
        """
        passed_over = []
        for folder in reversed(steps_on_disk(self.checkpoints)):
            try:
                check_step(folder)
            except CheckpointError as error:
                passed_over.append(str(error))
            else:
                return folder, passed_over
        return None, passed_over


def refuse_existing(path: Path) -> None:
    """Raise FileExistsError, with the ways out, if a run's folder is there already."""
    if path.exists():
        raise FileExistsError(
            f"the run folder {path} exists already: choose another log.run_dir, or go on with it: "
            f"tlm-train resume {path}"
        )
