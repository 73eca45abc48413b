"""Tokenizers on disk: GPT-2's vocab.json and merges.txt, Hugging Face's tokenizer.json."""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bpe_tok.atomic_write import write_text
from bpe_tok.spelling import spell, spell_vocab, unspell, unspell_vocab

Vocab = dict[int, bytes]
Merges = list[tuple[bytes, bytes]]


def read_gpt2(
    vocab_path: str | os.PathLike[str],
    merges_path: str | os.PathLike[str],
    special_tokens: Collection[str] = (),
) -> tuple[Vocab, Merges]:
    """Read vocab.json and merges.txt.

    Args:
        vocab_path: JSON object from token to id.
        merges_path: one merge a line.
        special_tokens: tokens that the vocab has as they are, not in GPT-2's spelling.

    Returns:
        The vocab and the merges.

    Raises:
        ValueError: if a file is damaged; the message has the file and the place.
    """
    name = os.fspath(merges_path)
    lines = _read_text(merges_path).rstrip("\n").split("\n")
    first = 1 if lines[0].startswith("#version") else 0
    merges = [
        _read_merge(line, f"{name}, line {number}")
        for number, line in enumerate(lines[first:], first + 1)
        if line or number > 1
    ]
    return _read_vocab(
        _read_json(vocab_path), merges, special_tokens, os.fspath(vocab_path)
    ), merges


def write_gpt2(
    vocab_path: str | os.PathLike[str],
    merges_path: str | os.PathLike[str],
    vocab: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Mapping[str, int],
) -> None:
    """Write vocab.json and merges.txt; the special tokens are in the vocab as they are.

    Args:
        vocab_path: where to write the vocab.
        merges_path: where to write the merges.
        vocab: the bytes of each id.
        merges: pairs of tokens, in the order learned.
        special_tokens: the id of each special token.
    """
    ids = spell_vocab(vocab, merges, special_tokens)
    lines = ["#version: 0.2", *(f"{spell(left)} {spell(right)}" for left, right in merges), ""]
    write_text(Path(vocab_path), json.dumps(ids, ensure_ascii=False))
    write_text(Path(merges_path), "\n".join(lines))


def read_hf(path: str | os.PathLike[str]) -> tuple[Vocab, Merges, list[str]]:
    """Read a tokenizer.json that holds byte-level BPE with GPT-2's pattern.

    Args:
        path: the file.

    Returns:
        The vocab, the merges and the special tokens.

    Raises:
        ValueError: if the file is damaged or holds a tokenizer of another kind; the message has
            the file and the place.
    """
    name = os.fspath(path)
    content = _expect(_read_json(path), dict, name)
    model = _expect(content.get("model"), dict, f"{name}, model")
    _check_supported(content, model, name)
    merges = [
        _read_merge(merge, f"{name}, model.merges[{place}]")
        for place, merge in enumerate(_expect(model.get("merges"), list, f"{name}, model.merges"))
    ]
    added = _expect(content.get("added_tokens", []), list, f"{name}, added_tokens")
    specials: dict[str, int] = {}
    for place, entry in enumerate(added):
        where = f"{name}, added_tokens[{place}]"
        entry = _expect(entry, dict, where)
        token = _expect(entry.get("content"), str, f"{where}.content")
        specials[token] = _expect(entry.get("id"), int, f"{where}.id")
        for option in ("lstrip", "rstrip", "single_word"):
            _check_option(entry, option, (None, False), where)
    ids = _expect(model.get("vocab"), dict, f"{name}, model.vocab")
    vocab = _read_vocab(
        {**ids, **specials}, merges, specials, f"{name}, model.vocab", "added_tokens"
    )
    return vocab, merges, list(specials)


def write_hf(
    path: str | os.PathLike[str],
    vocab: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Mapping[str, int],
) -> None:
    """Write tokenizer.json; the `tokenizers` library gives the same ids with it.

    Args:
        path: where to.
        vocab: the bytes of each id.
        merges: pairs of tokens, in the order learned.
        special_tokens: the id of each special token.
    """
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token_id, "content": token, **plain, "special": True}
            for token, token_id in special_tokens.items()
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": spell_vocab(vocab, merges, special_tokens),
            "merges": [f"{spell(left)} {spell(right)}" for left, right in merges],
        },
    }
    write_text(Path(path), json.dumps(content, ensure_ascii=False, indent=2))


def _read_vocab(
    ids: Any,
    merges: Merges,
    special_tokens: Collection[str],
    where: str,
    specials_name: str = "special_tokens",
) -> Vocab:
    for spelling, token_id in _expect(ids, dict, where).items():
        _expect(token_id, int, f"{where}[{spelling!r}]")
    try:
        return unspell_vocab(ids, merges, special_tokens, specials_name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _read_merge(merge: Any, where: str) -> tuple[bytes, bytes]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if (
        not isinstance(parts, list)
        or len(parts) != 2
        or not all(isinstance(part, str) and part for part in parts)
    ):
        raise ValueError(f"{where}: {merge!r} must be two tokens")
    try:
        return unspell(parts[0]), unspell(parts[1])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _check_supported(content: dict[str, Any], model: dict[str, Any], name: str) -> None:
    """Refuse a tokenizer.json whose ids would differ from ours."""
    for part in ("normalizer", "truncation", "padding"):
        _check_option(content, part, (None,), name)
    pre_tokenizer = _expect(content.get("pre_tokenizer"), dict, f"{name}, pre_tokenizer")
    _check_option(pre_tokenizer, "type", ("ByteLevel",), f"{name}, pre_tokenizer")
    _check_option(pre_tokenizer, "add_prefix_space", (False,), f"{name}, pre_tokenizer")
    _check_option(pre_tokenizer, "use_regex", (None, True), f"{name}, pre_tokenizer")
    if content.get("post_processor") is not None:
        post_processor = _expect(content["post_processor"], dict, f"{name}, post_processor")
        _check_option(post_processor, "type", ("ByteLevel",), f"{name}, post_processor")
    _check_option(model, "type", ("BPE",), f"{name}, model")
    _check_option(model, "dropout", (None, 0), f"{name}, model")
    _check_option(model, "ignore_merges", (None, False), f"{name}, model")
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        _check_option(model, affix, (None, ""), f"{name}, model")


def _check_option(part: dict[str, Any], option: str, allowed: tuple[Any, ...], where: str) -> None:
    if part.get(option) not in allowed:
        raise ValueError(
            f"{where}: {option}={part.get(option)!r} is not supported, only "
            f"{' or '.join(json.dumps(value) for value in allowed)}"
        )


def _expect(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"{where}: {_brief(value)} must be {_JSON_NAMES[kind]}")
    return value


_JSON_NAMES = {dict: "an object", list: "an array", str: "a string", int: "an integer"}


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)}: not UTF-8 at byte {error.start}: {error.reason}"
        ) from error


def _read_json(path: str | os.PathLike[str]) -> Any:
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{os.fspath(path)}: not JSON: {error}") from error
    except RecursionError:
        raise ValueError(f"{os.fspath(path)}: not a tokenizer: nested too deep") from None
