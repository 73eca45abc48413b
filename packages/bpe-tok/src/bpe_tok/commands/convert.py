"""`bpe-tok convert`: from one format to another."""

import argparse
import sys
from pathlib import Path

from bpe_tok.commands.options import add_missing_parts, open_tokenizer
from bpe_tok.formats.hugging_face import FILE_NAME
from bpe_tok.tokenizer import Tokenizer

HELP = "convert a tokenizer from one format to another"
EXAMPLE = """\
The name of the target tells the format: a folder or tokenizer.json is Hugging Face's, a vocab.json
is GPT-2's, with merges.txt beside it, and NAME.tiktoken is tiktoken's. What would give other ids in
the target's format is refused, with the reason.

  bpe-tok convert cl100k_base.tiktoken my-folder
  bpe-tok convert my-tokenizer my-tokenizer/vocab.json
  bpe-tok convert Meta-Llama-3-8B/tokenizer.json llama3.tiktoken
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("source", metavar="FROM", help="any tokenizer that --tokenizer would take")
    parser.add_argument("target", metavar="TO", help="what to write")
    add_missing_parts(parser)
    parser.add_argument(
        "--drop-normalizer",
        action="store_true",
        help="go on without the normalizer of a tokenizer.json, and give it normalized text only",
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def run(arguments: argparse.Namespace) -> None:
    """Read one format and write the other."""
    target = Path(arguments.target)
    if target.suffix == ".tiktoken":
        paths = [target]
    elif target.name.endswith("vocab.json"):
        paths = [target, target.with_name(target.name.removesuffix("vocab.json") + "merges.txt")]
    elif target.name == FILE_NAME or not target.suffix or target.is_dir():
        folder = target.parent if target.name == FILE_NAME else target
        paths = [folder / FILE_NAME]
    else:
        raise ValueError(
            f"{target} must be a folder, a {FILE_NAME}, a vocab.json or a file .tiktoken"
        )
    for path in paths:
        if path.exists() and not arguments.force:
            raise ValueError(f"{path} is there already; --force replaces it")
    tokenizer = open_tokenizer(
        arguments, arguments.source, drop_normalizer=arguments.drop_normalizer
    )
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    _write(tokenizer, paths)
    print("\n".join(map(str, paths)))


def _write(tokenizer: Tokenizer, paths: list[Path]) -> None:
    if len(paths) == 2:
        tokenizer.save_gpt2(*paths)
        return
    if paths[0].name == FILE_NAME:
        tokenizer.save(paths[0].parent)
        return
    tokenizer.save_tiktoken(paths[0])
    specials = " ".join(
        f"--special '{token}={token_id}'" for token, token_id in tokenizer.special_tokens.items()
    )
    print(
        "bpe-tok: note: such a file has neither the pattern nor special tokens; with it use "
        f"--pattern '{tokenizer.pattern}' {specials}".rstrip(),
        file=sys.stderr,
    )
