"""`bpe-tok show`: a text with its tokens in colours, in the terminal or as a page."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from bpe_tok.atomic_write import write_text
from bpe_tok.commands.options import add_files, add_tokenizer, expand, open_tokenizer
from bpe_tok.commands.page import page
from bpe_tok.commands.standard_input import STDIN
from bpe_tok.commands.visible import visible
from bpe_tok.tokenizer import Tokenizer

HELP = "show the tokens of a text in colours"
EXAMPLE = """\
Where colours are not wanted (a pipe, NO_COLOR, --color never) bars stand between the tokens.

  bpe-tok show -t my-tokenizer --text 'Hello world' --ids
  bpe-tok show -t my-tokenizer README.md --html tokens.html
"""

# Light backgrounds under black letters: readable whatever colours the terminal has.
_BACKGROUNDS = (153, 194, 222, 225, 229)
_RESET = "\x1b[0m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_files(parser)
    add_tokenizer(parser)
    parser.add_argument("--text", metavar="TEXT", help="show this text in place of files")
    parser.add_argument("--ids", action="store_true", help="show each token's id too")
    parser.add_argument("--html", metavar="FILE", help="write a page to look at in a browser")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether to use colours (default: auto, in a terminal)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Print the tokens, or write the page."""
    if arguments.text is not None and arguments.files:
        raise ValueError("--text is in place of files: give one or the other")
    if arguments.text is not None:
        texts = [("text", os.fsencode(arguments.text))]
    else:
        texts = [
            ("standard input", sys.stdin.buffer.read())
            if name == STDIN
            else (name, Path(name).read_bytes())
            for name in expand(arguments.files)
        ]
    tokenizer = open_tokenizer(arguments)
    if arguments.html is not None:
        title = texts[0][0] if len(texts) == 1 else f"{len(texts)} texts"
        ids = [tokenizer.encode(text) for _, text in texts]
        write_text(Path(arguments.html), page(tokenizer, title, list(chain.from_iterable(ids))))
        print(arguments.html)
        return
    colours = _wants_colours(arguments.color)
    for name, text in texts:
        ids_of_text = tokenizer.encode(text)
        if len(texts) > 1:
            print(f"{name}:")
        sys.stdout.writelines(_draw(tokenizer, ids_of_text, arguments.ids, colours))
        sys.stdout.flush()
        ratio = f", {len(text) / len(ids_of_text):.2f} bytes per token" if ids_of_text else ""
        print(f"{len(ids_of_text):,} tokens, {len(text):,} bytes{ratio}", file=sys.stderr)


def _wants_colours(choice: str) -> bool:
    if choice != "auto":
        return choice == "always"
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def _draw(tokenizer: Tokenizer, ids: Sequence[int], with_ids: bool, colours: bool) -> Iterator[str]:
    """Yield what to print for each token; a token with a line end in it ends the line too."""
    at_start = True
    for place, token_id in enumerate(ids):
        token = tokenizer.vocab[token_id]
        lines = token.split(b"\n")
        for number, line in enumerate(lines):
            shown = visible(line + b"\n") if number < len(lines) - 1 else visible(line)
            if number == 0 and with_ids:
                shown_id = f"\x1b[2m {token_id}" if colours else f"[{token_id}]"
            else:
                shown_id = ""
            if shown or shown_id:
                if colours:
                    background = _BACKGROUNDS[place % len(_BACKGROUNDS)]
                    yield f"\x1b[38;5;16;48;5;{background}m{shown}{shown_id}{_RESET}"
                else:
                    yield f"{'' if at_start or number else '|'}{shown}{shown_id}"
                at_start = False
            if number < len(lines) - 1:
                yield "\n"
                at_start = True
    if not at_start:
        yield "\n"
