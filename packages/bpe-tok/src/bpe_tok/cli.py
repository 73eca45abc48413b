"""The `bpe-tok` command."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import bpe_tok
from bpe_tok.commands import convert, count, decode, encode, info, show, train

_COMMANDS = {
    "train": train,
    "encode": encode,
    "decode": decode,
    "count": count,
    "show": show,
    "convert": convert,
    "info": info,
}

_EXAMPLE = """\
  bpe-tok train corpus.txt --vocab-size 10000 -o my-tokenizer
  bpe-tok show -t my-tokenizer --text 'Hello world'
  bpe-tok COMMAND --help
"""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help says more)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows the command's name; None: what the process was started with.

    Returns:
        The exit code: 2 for a user's mistake, which is one line on standard error.
    """
    for name in ("stdin", "stdout", "stderr"):
        # A closed one is as good as an empty one.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115
    parser = _parser()
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.print_help()
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _show_warning
            _COMMANDS[parsed.command].run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has enough; what Python would still flush has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        print("bpe-tok: out of memory", file=sys.stderr)
        return 2
    except (ValueError, OSError, ImportError) as error:
        print(f"bpe-tok: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bpe-tok: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="bpe-tok",
        description="Train and use byte-level BPE tokenizers.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"bpe-tok {bpe_tok.__version__} (engine: {bpe_tok.engine})"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in _COMMANDS.items():
        module.add_arguments(
            commands.add_parser(
                name,
                help=module.HELP,
                description=f"{module.HELP[0].upper()}{module.HELP[1:]}.",
                epilog=module.EXAMPLE,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    return parser


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"bpe-tok: note: {message}", file=sys.stderr)
