"""`bpe-tok train`: from texts to a tokenizer."""

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import bpe_tok
from bpe_tok.commands.options import add_files, add_threads, expand, positive
from bpe_tok.commands.progress import ProgressLine, bytes_text
from bpe_tok.commands.standard_input import STDIN, as_path
from bpe_tok.formats.hugging_face import FILE_NAME
from bpe_tok.trainer import train

HELP = "train a tokenizer on texts"
EXAMPLE = """\
Each file is one text, and no token crosses from one to the next. The result does not depend on the
number of threads.

  bpe-tok train corpus.txt --vocab-size 10000 --special '<|endoftext|>' -o my-tokenizer
  zcat corpus.gz | bpe-tok train --vocab-size 32000 --pattern o200k -o my-tokenizer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", required=True, help="where to write tokenizer.json"
    )
    parser.add_argument(
        "--vocab-size", type=positive, metavar="N", required=True, help="how many tokens to have"
    )
    parser.add_argument(
        "--special",
        action="append",
        default=[],
        metavar="TOKEN",
        help="a string that is one token, such as <|endoftext|>; may be repeated",
    )
    parser.add_argument(
        "--pattern",
        default="gpt2",
        metavar="NAME",
        help="what cuts text into words: gpt2 (the default), cl100k, o200k, llama3, qwen2 or a "
        "regular expression",
    )
    parser.add_argument(
        "--min-frequency",
        type=positive,
        default=1,
        metavar="N",
        help="merge no pair that is there less often (default: 1)",
    )
    add_threads(parser)
    parser.add_argument("--force", action="store_true", help="replace a tokenizer that is there")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing")


def run(arguments: argparse.Namespace) -> None:
    """Train, and write the tokenizer."""
    folder = Path(arguments.output)
    if (folder / FILE_NAME).exists() and not arguments.force:
        raise ValueError(f"{folder / FILE_NAME} is there already; --force replaces it")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; --output names a folder")
    started = time.monotonic()
    read = 0

    names = expand(arguments.files)
    with ExitStack() as stack:
        progress = stack.enter_context(ProgressLine(arguments.quiet))
        stdin = stack.enter_context(as_path()) if STDIN in names else Path()
        paths = [stdin if name == STDIN else Path(name) for name in names]

        def on_progress(stage: str, done: int, total: int | None) -> None:
            nonlocal read
            if stage == "read":
                read = done
                of = "" if total is None else f" of {bytes_text(total)}"
                progress.show(f"reading {bytes_text(done)}{of}")
            else:
                progress.show(f"merging {done:,} of {total or 0:,}")

        tokenizer = train(
            paths,
            arguments.vocab_size,
            arguments.special,
            pattern=arguments.pattern,
            min_frequency=arguments.min_frequency,
            threads=arguments.threads,
            on_progress=on_progress,
        )
    tokenizer.save(folder)
    if arguments.quiet:
        return
    seconds = time.monotonic() - started
    print(
        f"{tokenizer.vocab_size:,} tokens from {bytes_text(read)} in {seconds:.1f} s "
        f"(engine: {bpe_tok.engine}), in {folder / FILE_NAME}",
        file=sys.stderr,
    )
    if tokenizer.vocab_size < arguments.vocab_size:
        print(
            f"bpe-tok: note: fewer than {arguments.vocab_size:,} tokens, for no pair is left that "
            f"is there {arguments.min_frequency} times or more",
            file=sys.stderr,
        )
