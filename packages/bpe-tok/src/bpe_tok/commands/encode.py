"""`bpe-tok encode`: from texts to token ids."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from bpe_tok.atomic_write import replacing
from bpe_tok.commands.id_files import FORMATS, choose_format, to_little_endian
from bpe_tok.commands.options import (
    add_files,
    add_threads,
    add_tokenizer,
    expand,
    open_tokenizer,
)
from bpe_tok.commands.progress import ProgressLine
from bpe_tok.commands.standard_input import STDIN, ids_of_file
from bpe_tok.tokenizer import Tokenizer

HELP = "turn text into token ids"
EXAMPLE = """\
As text each line is encoded on its own, without its line end, and gives one line of ids. With
--whole, and always to uint16 or uint32, a file is one text, line ends and all.

  echo 'Hello world' | bpe-tok encode -t my-tokenizer
  bpe-tok encode -t my-tokenizer corpus.txt --format uint16 -o corpus.bin
"""

_BATCH_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    add_tokenizer(parser)
    parser.add_argument("--text", metavar="TEXT", help="encode this text in place of files")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text, or little-endian numbers with nothing between (default: text)",
    )
    parser.add_argument(
        "--whole", action="store_true", help="as text: a file is one text, and one line of ids"
    )
    parser.add_argument("--append", metavar="TOKEN", help="put this special token after each text")
    parser.add_argument(
        "--no-special",
        action="store_true",
        help="treat special tokens in the text as ordinary text",
    )
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the ids of all texts."""
    if arguments.text is not None and arguments.files:
        raise ValueError("--text is in place of files: give one or the other")
    names = [] if arguments.text is not None else expand(arguments.files)
    tokenizer = open_tokenizer(arguments)
    kind = choose_format(arguments.format, tokenizer.vocab_size)
    if kind != "text" and arguments.output is None and sys.stdout.isatty():
        raise ValueError(f"--format {kind} is not for a terminal: give --output, or a pipe")
    encoding = _Encoding(tokenizer, arguments)
    if arguments.text is not None:
        # The argument is bytes that Python made a string of.
        texts: Iterable[Iterable[Sequence[int]]] = [encoding.one_text(os.fsencode(arguments.text))]
    elif kind == "text" and not arguments.whole:
        texts = chain.from_iterable(map(encoding.lines, names))
    else:
        texts = map(encoding.whole, names)
    with ExitStack() as stack:
        progress = stack.enter_context(ProgressLine(quiet=arguments.output is None))
        if arguments.output is None:
            output: BinaryIO = sys.stdout.buffer
        else:
            output = stack.enter_context(replacing(Path(arguments.output)))
        tokens = 0
        for chunks in texts:
            between = b""
            for ids in chunks:
                if kind != "text":
                    output.write(to_little_endian(ids, kind))
                elif ids:
                    output.write(between + " ".join(map(str, ids)).encode())
                    between = b" "
                tokens += len(ids)
                progress.show(f"{tokens:,} tokens")
            if kind == "text":
                output.write(b"\n")


class _Encoding:
    """Encodes texts in bounded memory, in the ways that the options ask for.

    The ids of a text come in chunks.
    """

    def __init__(self, tokenizer: Tokenizer, arguments: argparse.Namespace) -> None:
        self._tokenizer = tokenizer
        self._threads = arguments.threads
        self._allowed: str | tuple[str, ...] = () if arguments.no_special else "all"
        self._last: list[int] = []
        if arguments.append is not None:
            if arguments.append not in tokenizer.special_tokens:
                raise ValueError(
                    f"--append {arguments.append!r} must be one of the special tokens "
                    f"{list(tokenizer.special_tokens)}"
                )
            self._last = [tokenizer.special_tokens[arguments.append]]

    def lines(self, name: str) -> Iterator[list[list[int]]]:
        """Yield the ids of each line of a file."""
        with ExitStack() as stack:
            if name == STDIN:
                file: BinaryIO = sys.stdin.buffer
            else:
                file = stack.enter_context(Path(name).open("rb"))
            while batch := file.readlines(_BATCH_BYTES):
                for ids in self._tokenizer.encode_batch(
                    [line.removesuffix(b"\n") for line in batch],
                    threads=self._threads,
                    allowed_special=self._allowed,
                ):
                    yield [ids + self._last]

    def whole(self, name: str) -> Iterator[Sequence[int]]:
        """Yield the ids of a file."""
        yield from ids_of_file(self._tokenizer, name, self._threads, self._allowed)
        yield self._last

    def one_text(self, text: bytes) -> Iterator[list[int]]:
        """Yield the ids of a text."""
        yield self._tokenizer.encode(text, allowed_special=self._allowed) + self._last
