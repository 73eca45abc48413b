"""Reading a tokenizer of whatever format, told by what is there."""

import os
from pathlib import Path

from bpe_tok.formats.gpt2 import infer_special_tokens, read_gpt2
from bpe_tok.formats.hugging_face import FILE_NAME, parse_hugging_face
from bpe_tok.formats.json_file import expect, parse_json, read_text
from bpe_tok.formats.parts import Parts
from bpe_tok.formats.tiktoken import read_tiktoken

_MERGES_BESIDE = {"vocab.json": "merges.txt", "encoder.json": "vocab.bpe"}


def read_any(
    path: str | os.PathLike[str],
    *,
    pattern: str | None = None,
    special_tokens: dict[str, int | None] | None = None,
    drop_normalizer: bool = False,
) -> tuple[Parts, list[str]]:
    """Read a tokenizer.

    Args:
        path: a tokenizer.json, a vocab.json with a merges.txt beside it, a `.tiktoken` file, or a
            folder with one of them.
        pattern: the pattern, for files that do not name it; of a tokenizer.json, in place of its
            own.
        special_tokens: special tokens for files that do not say which they are, with their ids or
            None. Where none are given, those of GPT-2's files are the tokens that no merge makes.
        drop_normalizer: whether to go on without the normalizer that a tokenizer.json has.

    Returns:
        All that makes the tokenizer, and what other libraries would do beyond that, in words.

    Raises:
        ValueError: if the file is damaged, or there is none that can be read.
        FileNotFoundError: if there is no such path.
    """
    path = Path(path)
    if path.is_dir():
        path = _find(path)
    specials = special_tokens or {}
    if path.suffix != ".json":
        if path.suffix in (".txt", ".bpe"):
            raise ValueError(f"{path}: merges alone are no tokenizer; give the vocab.json instead")
        fixed = {token: token_id for token, token_id in specials.items() if token_id is not None}
        if fixed and len(fixed) < len(specials):
            raise ValueError(f"{path}: give ids to all special tokens or to none: {specials}")
        return read_tiktoken(path, pattern, fixed or list(specials) or None), []
    text = read_text(path)
    content = expect(parse_json(text, str(path)), dict, str(path))
    if isinstance(content.get("model"), dict) or path.name == FILE_NAME:
        if specials:
            raise ValueError(
                f"{path} says itself which its special tokens are: {list(specials)} cannot be given"
            )
        return parse_hugging_face(text, str(path), pattern=pattern, drop_normalizer=drop_normalizer)
    merges_path = path.with_name(_merges_name(path))
    names = list(specials) or infer_special_tokens(path, merges_path)
    parts = read_gpt2(path, merges_path, names, pattern or "gpt2")
    for token, token_id in specials.items():
        if token_id not in (None, parts.special_tokens[token]):
            raise ValueError(
                f"{path}: special token {token!r} has id {parts.special_tokens[token]}, not "
                f"{token_id}"
            )
    return parts, []


def _find(folder: Path) -> Path:
    """Find the one file in a folder that is a tokenizer, or begins one."""
    for name in (FILE_NAME, *_MERGES_BESIDE):
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob("*.tiktoken"))
    if len(found) != 1:
        raise ValueError(
            f"{folder}: a folder must have a {FILE_NAME}, a vocab.json with a merges.txt, or one "
            f".tiktoken file; it has {len(found) or 'none'} of the last"
        )
    return found[0]


def _merges_name(path: Path) -> str:
    """Name the merges that belong to a vocab: `my_merges.txt` to `my_vocab.json`."""
    for vocab, merges in _MERGES_BESIDE.items():
        if path.name.endswith(vocab):
            return path.name.removesuffix(vocab) + merges
    raise ValueError(
        f"{path}: neither a tokenizer.json nor a vocab.json, beside which a merges.txt would be"
    )
