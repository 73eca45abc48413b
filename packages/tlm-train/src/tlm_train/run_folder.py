"""The folder of a run: what is where, and what it can be resumed from."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from bpe_tok import Tokenizer

from tlm_train.checkpoint import CheckpointError, check_step, steps_on_disk
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
    def create(cls, path: Path | None, config: RunConfig, tokenizer: Tokenizer) -> "RunFolder":
        """Make a run's folder, with its config and tokenizer.

        Args:
            path: The folder; must not exist. None: `runs/` and the date and time.
            config: The resolved config.
            tokenizer: The run's tokenizer.

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
        run = cls(path)
        run.checkpoints.mkdir(parents=True)
        tokenizer.save(run.tokenizer)
        run.config.write_text(to_toml(config), encoding="utf-8")
        return run

    @classmethod
    def open(cls, path: Path) -> tuple["RunFolder", RunConfig]:
        """Open an existing run.

        Raises:
            ValueError: `path` is not the folder of a run, or its config is damaged.
        """
        run = cls(path)
        if not run.config.is_file():
            hint = "" if path.is_dir() else ": there is no such folder"
            raise ValueError(f"{path} is not a run{hint or ': config.toml is missing'}")
        return run, load_config(run.config)

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
