"""GPT-2's two files: vocab.json, from token to id, and merges.txt, one merge a line."""

import json
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from bpe_tok.atomic_write import write_text
from bpe_tok.formats.json_file import expect, parse_json, read_text
from bpe_tok.formats.parts import Parts
from bpe_tok.formats.spelled import (
    SpelledMerges,
    read_vocab,
    spell_merges,
    spell_vocab,
    split_merges,
)
from bpe_tok.formats.tiktoken_rule import without_ignore_merges
from bpe_tok.special import SpecialTokens
from bpe_tok.spelling import SPELLING, check_spelling, unspell


def read_gpt2(
    vocab_path: str | os.PathLike[str],
    merges_path: str | os.PathLike[str],
    special_tokens: Iterable[str] | None = None,
    pattern: str = "gpt2",
) -> Parts:
    """Read vocab.json and merges.txt.

    Args:
        vocab_path: JSON object from token to id.
        merges_path: one merge a line, after a first line that may begin with `#version`.
        special_tokens: the special tokens, for the files do not say which they are; those that
            the vocab lacks get the next ids.
        pattern: the pattern, which the files do not name.

    Returns:
        All that makes the tokenizer.

    Raises:
        ValueError: if a file is damaged; the message has the file and the place.
    """
    specials = SpecialTokens(special_tokens).tokens
    check_spelling(specials)
    vocab_name, merges_name = os.fspath(vocab_path), os.fspath(merges_path)
    vocab_text = read_text(vocab_path)
    ids = expect(parse_json(vocab_text, vocab_name, unique_keys=False), dict, vocab_name)
    merges_text = read_text(merges_path).rstrip("\n")
    first_line = 1
    if merges_text.startswith("#version"):
        merges_text = merges_text.partition("\n")[2]
        first_line = 2
    spelled = split_merges(merges_text) or _explain_lines(
        merges_text.split("\n"), merges_name, first_line
    )
    tokens, merges, found = read_vocab(
        ids,
        spelled,
        specials,
        vocab_name=vocab_name,
        specials_name="special_tokens",
        merge_name=lambda rank: f"{merges_name}, line {first_line + rank}",
    )
    if None in tokens:
        # A key that comes twice leaves its first id without a token, so it is looked for only if
        # an id is unused; to look for it at once takes as long as all the rest.
        parse_json(vocab_text, vocab_name)
    for token in specials:
        if token not in found:
            found[token] = len(tokens)
            tokens.append(token.encode())
    _check_all_merges_are_there(tokens, merges[2], found, vocab_name, merges_name)
    by_id = dict(sorted(found.items(), key=lambda item: item[1]))
    return Parts(tokens, merges, by_id, pattern)


def _explain_lines(lines: Sequence[str], name: str, first_line: int) -> SpelledMerges:
    for number, line in enumerate(lines, first_line):
        parts = line.split(" ")
        if len(parts) != 2 or not all(parts):
            raise ValueError(
                f"{name}, line {number}: {line[:80]!r} must be two tokens with one space between"
            )
        for part in parts:
            try:
                unspell(part)
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
    raise AssertionError("a line is not two tokens")


def _check_all_merges_are_there(
    tokens: Sequence[bytes | None],
    wholes: Sequence[int],
    special_tokens: dict[str, int],
    vocab_name: str,
    merges_name: str,
) -> None:
    """Notice that merges.txt ends too early, which as such it may do after any line.

    A token that no merge makes may be a special token that was not named; but those are not two
    ordinary tokens joined, as the first token is whose merge is lost.
    """
    known_ids = {*wholes, *special_tokens.values()}
    if len(known_ids) + 256 == len(tokens):
        return
    ordinary = {bytes([byte]) for byte in range(256)} | {tokens[whole] for whole in wholes}
    for token_id, token in enumerate(tokens):
        if token is not None and token_id not in known_ids and _is_two_joined(token, ordinary):
            raise ValueError(
                f"{merges_name}: no merge makes {token!r}, id {token_id} in {vocab_name}; is the "
                "end of the file lost? If it is a special token, name it in special_tokens"
            )


def infer_special_tokens(
    vocab_path: str | os.PathLike[str], merges_path: str | os.PathLike[str]
) -> list[str]:
    """Find the special tokens, which are those that neither a byte nor a merge makes.

    Args:
        vocab_path: JSON object from token to id.
        merges_path: one merge a line.

    Returns:
        The special tokens; nothing if the files are damaged, for `read_gpt2` says where.
    """
    ids = parse_json(read_text(vocab_path), os.fspath(vocab_path))
    lines = read_text(merges_path).split("\n")
    ordinary = {*SPELLING, *(line.replace(" ", "") for line in lines)}
    return [
        token
        for token in ids
        if token not in ordinary and not _is_two_joined(token, ordinary) and _encodable(token)
    ]


def _is_two_joined(token: str | bytes, ordinary: Container[Any]) -> bool:
    return any(token[:cut] in ordinary and token[cut:] in ordinary for cut in range(1, len(token)))


def _encodable(token: str) -> bool:
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return bool(token)


def write_gpt2(
    vocab_path: str | os.PathLike[str],
    merges_path: str | os.PathLike[str],
    parts: Parts,
) -> None:
    """Write vocab.json and merges.txt; the special tokens are in the vocab as they are.

    Args:
        vocab_path: where to write the vocab.
        merges_path: where to write the merges.
        parts: all that makes the tokenizer.

    Raises:
        ValueError: if the files would not give the same ids.
    """
    if parts.pattern != "gpt2":
        raise ValueError(
            f"pattern={parts.pattern!r} cannot be written to vocab.json and merges.txt, whose "
            "readers take GPT-2's; tokenizer.json holds it"
        )
    parts = without_ignore_merges(parts, "vocab.json and merges.txt")
    lines = ["#version: 0.2", *spell_merges(parts), ""]
    vocab = json.dumps(spell_vocab(parts), ensure_ascii=False)
    write_text(Path(vocab_path), vocab)
    write_text(Path(merges_path), "\n".join(lines))
