"""`bpe-tok decode`: from token ids to text."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from bpe_tok.atomic_write import replacing
from bpe_tok.commands.id_files import FORMATS, read_lines, read_numbers
from bpe_tok.commands.options import add_files, add_tokenizer, expand, open_tokenizer
from bpe_tok.commands.progress import ProgressLine, bytes_text
from bpe_tok.commands.standard_input import STDIN

HELP = "turn token ids into text"
EXAMPLE = """\
As text each line of ids gives one line; with --whole, and always from uint16 or uint32, the ids of
a file are one text, and no line ends are added. The tokens' bytes are written as they are.

  echo '15496 995' | bpe-tok decode -t gpt2/vocab.json
  bpe-tok decode -t my-tokenizer corpus.bin --format uint16 -o corpus.txt
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    add_tokenizer(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (default: stdout)")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="text, or little-endian numbers with nothing between (default: text)",
    )
    parser.add_argument(
        "--whole", action="store_true", help="from text: all ids are of one text; add no line ends"
    )


def run(arguments: argparse.Namespace) -> None:
    """Write the text of all ids."""
    names = expand(arguments.files)
    tokenizer = open_tokenizer(arguments)
    with ExitStack() as stack:
        progress = stack.enter_context(ProgressLine(quiet=arguments.output is None))
        if arguments.output is None:
            output: BinaryIO = sys.stdout.buffer
        else:
            output = stack.enter_context(replacing(Path(arguments.output)))
        end = b"\n" if arguments.format == "text" and not arguments.whole else b""
        written = 0
        for name in names:
            shown = "standard input" if name == STDIN else name
            with ExitStack() as opened:
                if name == STDIN:
                    file: BinaryIO = sys.stdin.buffer
                else:
                    file = opened.enter_context(Path(name).open("rb"))
                if arguments.format == "text":
                    parts: Iterator[Sequence[int]] = read_lines(file, shown)
                else:
                    parts = read_numbers(file, arguments.format, shown)
                for number, ids in enumerate(parts, 1):
                    try:
                        text = tokenizer.decode_bytes(ids)
                    except ValueError as error:
                        line = f", line {number}" if arguments.format == "text" else ""
                        raise ValueError(f"{shown}{line}: {error}") from None
                    written += output.write(text + end)
                    progress.show(bytes_text(written))
