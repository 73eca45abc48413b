"""The `tlm-train` command."""

import dataclasses
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from tlm_data.command_line import parse_arguments

from tlm_train.config import RunConfig, parse_values, read_toml, to_arguments

_DESCRIPTION = """Train Transformer language models from raw text.

With no argument it trains a small model on the Python standard library's own sources, in about \
two minutes on two cores, and shows what it writes. Results go to a folder under runs/.

  tlm-train                                    train with the defaults
  tlm-train run --help                         list all options
  tlm-train run my.toml --optim.lr 3e-4        options from a file, then from the command line
  tlm-train --data.text my.txt                 train on your own text
  tlm-train resume runs/NAME                   go on with a run that was stopped
  tlm-train generate runs/NAME --prompt "def " write text"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(RunConfig):
    """Train a model; the default command.

    A TOML file gives options by section, as in `[optim]` `lr = 3e-4`; the command line wins over
    it. The resolved config is left in the run's folder, and runs again from there.
    """

    config: tyro.conf.Positional[Path | None] = None
    """TOML file of options."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on with a run that was stopped, from its last checkpoint.

    It ends with the weights, bit for bit, of a run that was never stopped.
    """

    run: tyro.conf.Positional[Path]
    """The run's folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generate:
    """Write text with a trained model, as it comes."""

    run: tyro.conf.Positional[Path]
    """The run's folder."""
    prompt: str = ""
    """Text to go on from."""
    max_tokens: int = 256
    """Most tokens to write; the text ends earlier at the end of a document."""
    temperature: float = 0.8
    """Below 1 the text is more predictable, above 1 less; 0 always takes the likeliest token."""
    top_p: float = 0.95
    """Choose among the likeliest tokens that together have this probability."""
    seed: int | None = None
    """Fixes the text. None: another text each time."""


Command = (
    Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a model writes may hold characters that this terminal cannot show.
        sys.stdout.reconfigure(errors="replace")
    try:
        arguments = _complete(list(sys.argv[1:] if arguments is None else arguments))
        command = parse_arguments(Command, arguments, prog="tlm-train", description=_DESCRIPTION)
        first = [Path(argument) for argument in arguments[1:2]]
        if isinstance(command, Run) and command.config and first != [command.config]:
            raise ValueError(f"put the config file first: tlm-train run {command.config} …")
        _execute(command)
    except BrokenPipeError:
        # The reader, such as `head`, has enough; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        print(
            "tlm-train: out of memory: lower train.batch_size, model.context_length or the size of "
            "the model",
            file=sys.stderr,
        )
        sys.exit(2)
    except (ValueError, OSError) as error:
        print(f"tlm-train: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        print(f"tlm-train: {str(error) or 'stopped'}", file=sys.stderr)
        sys.exit(130)


def _complete(arguments: list[str]) -> list[str]:
    """Add the default command, and put the options of a config file before the user's own."""
    given = [argument.split("=")[0].replace("_", "-") for argument in arguments]
    for option in ("--data.text", "--data.val-text"):
        # The later one would win, as with every option, and the files of the other be forgotten.
        if given.count(option) > 1:
            raise ValueError(f"{option} is given twice: give it once, with all its files after it")
    first = arguments[0] if arguments else ""
    if not first or first.endswith(".toml") or (first[0] == "-" and first not in ("-h", "--help")):
        arguments = ["run", *arguments]
    if arguments[0] == "run" and len(arguments) > 1 and not arguments[1].startswith("-"):
        path = Path(arguments[1])
        values = read_toml(path)
        parse_values(path, values)
        arguments = [*arguments[:2], *to_arguments(values), *arguments[2:]]
    return arguments


def _execute(command: Run | Resume | Generate) -> None:
    from tlm_train import commands

    match command:
        case Run():
            sections = {f.name: getattr(command, f.name) for f in dataclasses.fields(RunConfig)}
            commands.run(RunConfig(**sections))
        case Resume():
            commands.resume(command.run)
        case Generate():
            commands.generate_text(
                command.run,
                prompt=command.prompt,
                max_tokens=command.max_tokens,
                temperature=command.temperature,
                top_p=command.top_p,
                seed=command.seed,
            )
