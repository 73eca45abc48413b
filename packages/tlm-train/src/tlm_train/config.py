"""The configuration of a run: five sections of plain values, and their TOML form."""

import dataclasses
import difflib
import sys
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w
from tlm_data.command_line import parse_arguments
from tlm_layers import ModelConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The text to train on."""

    corpus: Path | None = None
    """Folder that `tlm-data prepare` made, with validation text; in place of all else here."""
    text: tuple[Path, ...] = ()
    """UTF-8 text files to train on; `<|endoftext|>` divides a file into documents. Without any:
    the Python standard library's own sources on this machine."""
    val_text: tuple[Path, ...] = ()
    """UTF-8 text files to validate on. Without any: a part of the text is held out."""
    val_fraction: float = 0.1
    """Share of the text held out for validation: of the files of the standard library, or of the
    end of each file of `text`."""
    tokenizer: Path | None = None
    """Folder of a tokenizer to use. None: one of model.vocab_size tokens is trained."""
    dir: Path = Path("data")
    """Where prepared corpora are kept; the same text is prepared once."""

    def __post_init__(self) -> None:
        if self.corpus is not None and (self.text or self.val_text or self.tokenizer):
            raise ValueError(
                f"data.corpus={self.corpus} has its own text and tokenizer: leave out data.text, "
                "data.val_text and data.tokenizer"
            )
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"data.val_fraction={self.val_fraction} must lie between 0 and 1")
        if self.val_text and not self.text:
            raise ValueError("data.val_text needs data.text: name the files to train on as well")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW, a cosine schedule with linear warmup, and gradient clipping."""

    lr: float = 2e-3
    """Peak learning rate."""
    min_lr: float | None = None
    """Learning rate at the last step. None: a tenth of lr."""
    warmup_steps: int | None = None
    """Steps over which the learning rate rises from 0 to its peak. None: a tenth of the steps, but
    at most 50."""
    betas: tuple[float, float] = (0.9, 0.99)
    """AdamW's decay rates of the first and second moment."""
    eps: float = 1e-8
    """AdamW's term against division by zero."""
    weight_decay: float = 0.1
    """Decoupled weight decay, on matrices only."""
    max_grad_norm: float = 1.0
    """Gradients with a larger global L2 norm are scaled down to it."""

    def __post_init__(self) -> None:
        _require_positive("optim", self, "lr", "eps", "max_grad_norm")
        _require_not_negative("optim", self, "weight_decay")
        if self.warmup_steps is not None:
            _require_not_negative("optim", self, "warmup_steps")
        if self.min_lr is not None and not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"optim.min_lr={self.min_lr} must lie between 0 and lr={self.lr}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas={self.betas} must each lie in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how to train."""

    steps: int = 1200
    """Optimizer steps."""
    batch_size: int = 4
    """Sequences of model.context_length tokens in a step."""
    seed: int = 0
    """Fixes the weights, the batches and the samples."""
    device: str = "auto"
    """Where to train: cpu, cuda, cuda:1, mps; auto takes an accelerator where there is one."""
    eval_every_steps: int = 200
    """Steps between evaluations on validation text, each with a sample."""
    eval_windows: int = 128
    """Validation windows of context_length tokens in an evaluation, spread over the text."""
    checkpoint_every_steps: int = 200
    """Steps between checkpoints; the last step always leaves one."""
    keep_checkpoints: int = 2
    """Checkpoints kept, the newest."""

    def __post_init__(self) -> None:
        _require_positive(
            "train",
            self,
            "steps",
            "batch_size",
            "eval_every_steps",
            "eval_windows",
            "checkpoint_every_steps",
            "keep_checkpoints",
        )
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"train.seed={self.seed} must lie between 0 and 2**31 - 1")


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """Where results go."""

    run_dir: Path | None = None
    """Folder of this run; must not exist. None: runs/ and the date and time."""
    every_steps: int = 1
    """Steps between rows of metrics.jsonl."""
    sample_prompt: str = ""
    """What each sample goes on from."""
    sample_tokens: int = 128
    """Tokens in a sample."""
    wandb: Literal["auto", "online", "offline", "disabled"] = "auto"
    """Weights & Biases. auto: online where wandb is installed, logged in and answers at once,
    offline where it does not answer, disabled otherwise."""
    wandb_project: str = "tlm"
    """The project that runs appear under."""

    def __post_init__(self) -> None:
        _require_positive("log", self, "every_steps", "sample_tokens")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a run depends on."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def __post_init__(self) -> None:
        if (self.optim.warmup_steps or 0) > self.train.steps:
            raise ValueError(
                f"optim.warmup_steps={self.optim.warmup_steps} must not exceed "
                f"train.steps={self.train.steps}"
            )

    def resolved(self) -> "RunConfig":
        """Return the config with the values that None stands for."""
        optim = self.optim
        if optim.min_lr is None:
            optim = dataclasses.replace(optim, min_lr=optim.lr / 10)
        if optim.warmup_steps is None:
            optim = dataclasses.replace(optim, warmup_steps=min(50, self.train.steps // 10))
        return dataclasses.replace(self, optim=optim)


def _require_positive(section: str, config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{section}.{name}={value} must be greater than 0")


def _require_not_negative(section: str, config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ValueError(f"{section}.{name}={value} must not be negative")


def to_toml(config: RunConfig) -> str:
    """Return the TOML form of a config; options that are None are left out."""
    return tomli_w.dumps(_plain(dataclasses.asdict(config)))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {key: _plain(item) for key, item in value.items() if item is not None}
        case tuple():
            return [_plain(item) for item in value]
        case Path():
            return str(value)
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML config file as `{"optim.lr": 3e-4, ...}`.

    Raises:
        ValueError: The file is missing or is not TOML, or a key is unknown.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"cannot read the config {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    known = option_types()
    values = {}
    for section, table in tables.items():
        # A key outside a section is unknown too; listing it under its own name says so.
        options = table.items() if isinstance(table, dict) else [("", table)]
        for name, value in options:
            key = f"{section}.{name}" if name else section
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else "see tlm-train run --help"
                raise ValueError(f"{path}: unknown key {key}; {hint}")
            values[key] = value
    return values


def option_types() -> dict[str, Any]:
    """Return each option of `RunConfig` under its full name, with its type."""
    return {
        f"{section.name}.{name}": annotation
        for section in dataclasses.fields(RunConfig)
        for name, annotation in typing.get_type_hints(typing.cast(type, section.type)).items()
    }


def to_arguments(values: dict[str, Any]) -> list[str]:
    """Turn `{"optim.lr": 3e-4, ...}` into command-line arguments."""
    arguments = []
    for key, value in values.items():
        if isinstance(value, list):
            arguments += [f"--{key}", *map(str, value)]
        elif isinstance(value, bool):  # --model.qk_norm, or --model.no-qk_norm
            section, dot, name = key.rpartition(".")
            arguments.append(f"--{section}{dot}{'' if value else 'no-'}{name}")
        else:
            arguments.append(f"--{key}={value}")
    return arguments


def parse_values(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Bring the values of a TOML file to the types of their options.

    Args:
        path: The file, for messages.
        values: What `read_toml` returned.

    Raises:
        ValueError: A value has the wrong type; the message has the file, the key, the value and
            the type.
    """
    types = option_types()
    parsed = {}
    for key, value in values.items():
        if isinstance(value, bool) and types[key] is bool:
            parsed[key] = value
            continue
        option = dataclasses.make_dataclass("Option", [("value", types[key])])
        try:
            parsed[key] = parse_arguments(option, to_arguments({"value": value})).value
        except ValueError:
            kind = types[key]
            wanted = str(kind) if typing.get_args(kind) else kind.__name__
            wanted = wanted.replace("typing.", "").replace("pathlib.", "")
            raise ValueError(f"{path}: {key} = {value!r} is not of type {wanted}") from None
    return parsed


def load_config(path: Path) -> RunConfig:
    """Read a config from a TOML file.

    Raises:
        ValueError: The file is missing or is not TOML, a key is unknown, or a value has the
            wrong type or breaks a rule.
    """
    sections: dict[str, dict[str, Any]] = {}
    for key, value in parse_values(path, read_toml(path)).items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    try:
        return RunConfig(
            **{
                section.name: typing.cast(Any, section.type)(**sections.get(section.name, {}))
                for section in dataclasses.fields(RunConfig)
            }
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
