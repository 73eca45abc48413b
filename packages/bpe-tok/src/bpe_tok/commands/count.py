"""`bpe-tok count`: how many tokens there are in files."""

import argparse
import sys
from pathlib import Path

from bpe_tok.commands.options import (
    add_files,
    add_threads,
    add_tokenizer,
    expand,
    open_tokenizer,
)
from bpe_tok.commands.progress import ProgressLine
from bpe_tok.commands.standard_input import STDIN, ids_of_file

HELP = "count tokens, as wc counts words"
EXAMPLE = """\
The columns are tokens, bytes, bytes per token and the file; a terminal gets their names too.

  bpe-tok count -t my-tokenizer src/ README.md
  git diff | bpe-tok count -t o200k_base.tiktoken
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    add_tokenizer(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> None:
    """Print a line for each file, and the total of several."""
    names = expand(arguments.files)
    tokenizer = open_tokenizer(arguments)
    lengths = [len(tokenizer.vocab.get(token_id, b"")) for token_id in range(tokenizer.vocab_size)]
    rows = []
    with ProgressLine() as progress:
        for name in names:
            tokens = size = 0
            is_file = name != STDIN and Path(name).is_file()
            for ids in ids_of_file(tokenizer, name, arguments.threads):
                tokens += len(ids)
                # A pipe has no size, but the tokens are all of it.
                size += 0 if is_file else sum(map(lengths.__getitem__, ids))
                progress.show(f"{name}: {tokens:,} tokens")
            size = Path(name).stat().st_size if is_file else size
            rows.append((tokens, size, name))
    if len(rows) > 1:
        rows.append((sum(row[0] for row in rows), sum(row[1] for row in rows), "total"))
    width = max(7, *(len(str(number)) for row in rows for number in row[:2]))
    if sys.stdout.isatty():
        print(f"{'tokens':>{width}} {'bytes':>{width}} {'bytes/token':>11}")
    for tokens, size, name in rows:
        ratio = f"{size / tokens:11.3f}" if tokens else f"{'-':>11}"
        shown = "" if name == STDIN else f" {name}"
        print(f"{tokens:{width}} {size:{width}} {ratio}{shown}")
