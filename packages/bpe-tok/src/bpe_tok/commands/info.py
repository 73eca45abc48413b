"""`bpe-tok info`: what a tokenizer is, and how well it compresses a text."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice

import bpe_tok
from bpe_tok.commands.options import (
    add_files,
    add_threads,
    add_tokenizer,
    expand,
    open_tokenizer,
)
from bpe_tok.commands.progress import ProgressLine
from bpe_tok.commands.standard_input import ids_of_file
from bpe_tok.commands.visible import visible
from bpe_tok.tokenizer import Tokenizer

HELP = "tell what a tokenizer is, and with texts how well it compresses them"
EXAMPLE = """\
  bpe-tok info -t my-tokenizer
  bpe-tok info -t my-tokenizer corpus.txt
"""

_LONGEST = 16
_BAR_WIDTH = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    add_tokenizer(parser)
    add_threads(parser)
    parser.add_argument(
        "--top", type=int, default=10, metavar="N", help="tokens to name (default: 10)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the tokenizer's facts, then those of the texts."""
    names = expand(arguments.files) if arguments.files else []
    tokenizer = open_tokenizer(arguments)
    for name, value in _facts(tokenizer):
        print(f"{name:<15} {value}")
    lengths = Counter(len(token) for token in tokenizer.vocab.values())
    if not names:
        print("\ntokens in the vocab by length in bytes")
        print("\n".join(_bars(lengths)))
        return
    uses: Counter[int] = Counter()
    with ProgressLine() as progress:
        for name in names:
            for chunk in ids_of_file(tokenizer, name, arguments.threads):
                uses.update(chunk)
                progress.show(f"{uses.total():,} tokens")
    print()
    for line in _usage(tokenizer, uses, arguments.top):
        print(line)


def _facts(tokenizer: Tokenizer) -> Iterable[tuple[str, str]]:
    yield "tokens", f"{len(tokenizer.vocab):,}"
    if len(tokenizer.vocab) < tokenizer.vocab_size:
        yield "vocab size", f"{tokenizer.vocab_size:,}, the highest id and one"
    if tokenizer.merges is None:
        yield "merges", "none: tiktoken's rule"
    else:
        ignored = ", unless a word is a token" if tokenizer.ignore_merges else ""
        yield "merges", f"{len(tokenizer.merges):,}{ignored}"
    specials = tokenizer.special_tokens.items()
    shown = ", ".join(f"{token} ({token_id})" for token, token_id in islice(specials, 8))
    more = f", and {len(specials) - 8:,} more" if len(specials) > 8 else ""
    yield "special tokens", f"{shown}{more}" or "none"
    yield "pattern", tokenizer.pattern
    yield "fingerprint", tokenizer.fingerprint
    yield "engine", bpe_tok.engine


def _usage(tokenizer: Tokenizer, uses: Counter[int], top: int) -> Iterable[str]:
    """Say how the tokens are used in a text."""
    tokens = uses.total()
    lengths: Counter[int] = Counter()
    for token_id, times in uses.items():
        lengths[len(tokenizer.vocab[token_id])] += times
    size = sum(length * times for length, times in lengths.items())
    yield f"{'text':<15} {size:,} bytes, {tokens:,} tokens"
    if not tokens:
        return
    yield f"{'bytes per token':<15} {size / tokens:.3f}"
    yield f"{'used':<15} {len(uses):,} of {len(tokenizer.vocab):,} tokens"
    yield "\ntokens in the text by length in bytes"
    yield from _bars(lengths)
    yield "\nmost used"
    for token_id, times in uses.most_common(top):
        token = visible(tokenizer.vocab[token_id])
        yield f"{token_id:>8}  {times:>12,}  {times / tokens:>6.2%}  '{token}'"
    unused = [
        token_id
        for token_id, token in tokenizer.vocab.items()
        if token_id not in uses and len(token) > 1
    ]
    if unused and top:
        yield f"\nnever used: {len(unused):,} tokens longer than a byte, the first of them"
        for token_id in unused[:top]:
            yield f"{token_id:>8}  '{visible(tokenizer.vocab[token_id])}'"


def _bars(lengths: Mapping[int, int]) -> Iterable[str]:
    """Draw how many tokens there are of each length."""
    rows = {length: lengths.get(length, 0) for length in range(1, _LONGEST)}
    longer = sum(count for length, count in lengths.items() if length >= _LONGEST)
    total = sum(lengths.values())
    most = max(*rows.values(), longer, 1)
    while not longer and len(rows) > 1 and not rows[max(rows)]:
        del rows[max(rows)]
    for length, count in rows.items():
        yield _bar(str(length), count, most, total)
    if longer:
        yield _bar(f"{_LONGEST}+", longer, most, total)


def _bar(name: str, count: int, most: int, total: int) -> str:
    encoding = sys.stdout.encoding or "ascii"
    if encoding.lower().replace("-", "") == "utf8":
        whole, eighths = divmod(round(8 * _BAR_WIDTH * count / most), 8)
        bar = ("█" * whole + _EIGHTHS[eighths]).strip()
    else:
        bar = "#" * round(_BAR_WIDTH * count / most)
    return f"{name:>4}  {bar:<{_BAR_WIDTH}} {count:>12,} {count / total:>6.1%}"
