"""Options that several commands have, and the files that they name."""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from bpe_tok.commands.standard_input import STDIN
from bpe_tok.formats.any_format import read_any
from bpe_tok.tokenizer import Tokenizer


def add_tokenizer(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a tokenizer."""
    parser.add_argument(
        "-t",
        "--tokenizer",
        metavar="PATH",
        required=True,
        help="a folder with a tokenizer.json, such a file, a vocab.json with merges.txt beside it, "
        "or a .tiktoken file",
    )
    add_missing_parts(parser)


def add_missing_parts(parser: argparse.ArgumentParser) -> None:
    """Add the options that tell what some files leave out."""
    group = parser.add_argument_group("for files that do not say it themselves")
    group.add_argument(
        "--pattern",
        metavar="NAME",
        help="gpt2, cl100k, o200k, llama3, qwen2 or a regular expression",
    )
    group.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="TOKEN[=ID]",
        help="a special token, with its id if the file has none; may be repeated",
    )


def add_files(parser: argparse.ArgumentParser) -> None:
    """Add the files to read."""
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="a file, a folder of files, or - for standard input, which is read if none is named",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the number of threads."""
    parser.add_argument(
        "--threads", type=positive, metavar="N", help="threads to use (default: one a core)"
    )


def positive(text: str) -> int:
    """Parse an integer of 1 or more."""
    number = int(text.replace("_", "").replace(",", ""))
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} must be at least 1")
    return number


def open_tokenizer(
    arguments: argparse.Namespace, path: str | None = None, *, drop_normalizer: bool = False
) -> Tokenizer:
    """Read the tokenizer that the options name."""
    path = path or str(arguments.tokenizer)
    parts, notes = read_any(
        path,
        pattern=arguments.pattern,
        special_tokens=dict(map(_special, arguments.special)),
        drop_normalizer=drop_normalizer,
    )
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return Tokenizer._from_file(parts, path)


def _special(text: str) -> tuple[str, int | None]:
    """Parse `TOKEN` or `TOKEN=ID`."""
    match = re.fullmatch(r"(.+)=(\d{1,9})", text, re.DOTALL)
    return (match[1], int(match[2])) if match else (text, None)


def expand(files: Sequence[str]) -> list[str]:
    """List the files to read: those in a folder in place of it, standard input if there are none.

    Hidden files and folders within a folder are left out.

    Raises:
        ValueError: if a folder has no file, or nothing is named and standard input is a terminal.
        FileNotFoundError: if there is no such file.
    """
    if not files:
        if sys.stdin.isatty():
            raise ValueError("name a file, or pipe text into standard input")
        return [STDIN]
    result: list[str] = []
    for name in files:
        if name == STDIN:
            result.append(name)
        elif Path(name).is_dir():
            found = list(_files_in(name))
            if not found:
                raise ValueError(f"{name}: no files in this folder")
            result += found
        else:
            Path(name).stat()
            result.append(name)
    if result.count(STDIN) > 1:
        raise ValueError("- is given twice, but standard input can be read only once")
    return result


def _files_in(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield str(Path(parent, name))
