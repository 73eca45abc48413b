"""Hugging Face's tokenizer.json."""

import json
import os
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

from bpe_tok.atomic_write import write_text
from bpe_tok.formats.json_file import brief, check_option, expect, parse_json, read_text
from bpe_tok.formats.parts import Parts
from bpe_tok.formats.portable_regex import unportable
from bpe_tok.formats.spelled import (
    SpelledMerges,
    read_vocab,
    spell_merges,
    spell_vocab,
    split_merges,
)
from bpe_tok.formats.tiktoken_rule import merges_of_rule
from bpe_tok.pretokenize import PATTERNS
from bpe_tok.special import SpecialTokens
from bpe_tok.spelling import check_spelling, unspell

FILE_NAME = "tokenizer.json"

_REGEXES = {name: regex for name, regex in PATTERNS.items() if name != "cl100k"} | {
    # Neither `{1,3}+` nor `$` means to Oniguruma what it means to tiktoken.
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s",
}
"""The published patterns, in what Oniguruma's syntax has in common with ours."""

# Hugging Face's library skips what it does not know in the model, so this says what it has no
# words for, and its own copies of the file go without.
_OURS = "bpe_tok"


def read_hugging_face(path: str | os.PathLike[str], **options: Any) -> tuple[Parts, list[str]]:
    """Read a tokenizer.json, or one in a folder.

    Args:
        path: the file, or a folder that has a tokenizer.json.
        **options: those of `parse_hugging_face`.

    Returns:
        What `parse_hugging_face` does.

    Raises:
        ValueError: as `parse_hugging_face` does; the message has the file and the place.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    return parse_hugging_face(read_text(path), str(path), **options)


def parse_hugging_face(
    text: str, name: str, *, pattern: str | None = None, drop_normalizer: bool = False
) -> tuple[Parts, list[str]]:
    """Parse the content of a tokenizer.json that holds byte-level BPE.

    Args:
        text: the content.
        name: what holds it, for messages.
        pattern: the pattern to take in place of the one that it has.
        drop_normalizer: whether to go on without the normalizer that it has.

    Returns:
        All that makes the tokenizer, and what Hugging Face's library would do beyond that, in
        words.

    Raises:
        ValueError: if the content is damaged, or the ids would not be the same; the message has
            the name and the place.
    """
    content = expect(parse_json(text, name), dict, name)
    if isinstance(content.get("model"), int):
        raise ValueError(
            f"{name}: this looks like GPT-2's vocab.json, not a tokenizer.json; "
            "Tokenizer.from_files reads it with its merges.txt"
        )
    model = expect(content.get("model"), dict, f"{name}, model")
    _check_model(model, f"{name}, model")
    _check_normalizer(content, name, drop_normalizer)
    if content.get("decoder") is not None:
        decoder = expect(content["decoder"], dict, f"{name}, decoder")
        check_option(decoder, "type", ("ByteLevel",), f"{name}, decoder")
    ours = expect(model.get(_OURS, {}), dict, f"{name}, model.{_OURS}")
    if pattern is None:
        pattern = _read_pattern(content.get("pre_tokenizer"), ours, name)
    spelled = _read_merges(model.get("merges"), f"{name}, model.merges")
    ids = expect(model.get("vocab"), dict, f"{name}, model.vocab")
    specials = _read_added_tokens(content, ids, name)
    tokens, merges, found = read_vocab(
        {**ids, **specials} if specials.keys() - ids.keys() else ids,
        spelled,
        specials,
        vocab_name=f"{name}, model.vocab",
        specials_name="added_tokens",
        merge_name=lambda rank: f"{name}, model.merges[{rank}]",
    )
    by_id = dict(sorted(found.items(), key=lambda item: item[1]))
    by_rule = ours.get("merges") == "by id"
    parts = (
        Parts(tokens, None, by_id, pattern)
        if by_rule
        else Parts(tokens, merges, by_id, pattern, bool(model.get("ignore_merges")))
    )
    return parts, _left_out(content)


def from_hugging_face(tokenizer: Any, **options: Any) -> tuple[Parts, list[str]]:
    """Take a tokenizer from Hugging Face's libraries.

    Args:
        tokenizer: a `tokenizers.Tokenizer`, or one of transformers' that is built on it.
        **options: those of `parse_hugging_face`.

    Returns:
        What `parse_hugging_face` does.

    Raises:
        TypeError: if it is anything else.
        ValueError: as `parse_hugging_face` does.
    """
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str") or not hasattr(backend, "pre_tokenizer"):
        raise TypeError(
            f"{brief(tokenizer)} must be a tokenizers.Tokenizer, a fast tokenizer of transformers "
            "or the path of a tokenizer.json"
        )
    return parse_hugging_face(backend.to_str(), type(tokenizer).__name__, **options)


def _check_model(model: dict[str, Any], where: str) -> None:
    # Files from before the type was written have none.
    check_option(model, "type", (None, "BPE"), where)
    check_option(model, "dropout", (None, 0, 0.0), where)
    check_option(model, "ignore_merges", (None, False, True), where)
    for affix in ("continuing_subword_prefix", "end_of_word_suffix"):
        check_option(model, affix, (None, ""), where)


def _check_normalizer(content: dict[str, Any], name: str, drop: bool) -> None:
    normalizer = content.get("normalizer")
    if normalizer is None or drop:
        return
    kind = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
    if kind == "Sequence" and normalizer.get("normalizers") == []:
        return
    way_out = "normalize the text yourself and load with drop_normalizer=True"
    if kind in ("NFC", "NFD", "NFKC", "NFKD"):
        way_out = f"give text as unicodedata.normalize({kind!r}, text), and drop_normalizer=True"
    raise ValueError(
        f"{name}: normalizer={brief(normalizer)} is not supported, only null, for it changes the "
        f"text before it is encoded; {way_out}"
    )


def _read_pattern(pre_tokenizer: Any, ours: dict[str, Any], name: str) -> str:
    where = f"{name}, pre_tokenizer"
    steps = [expect(pre_tokenizer, dict, where)]
    if steps[0].get("type") == "Sequence":
        steps = expect(steps[0].get("pretokenizers"), list, f"{where}.pretokenizers")
        for place, step in enumerate(steps):
            expect(step, dict, f"{where}.pretokenizers[{place}]")
    kinds = [step.get("type") for step in steps]
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise ValueError(
            f"{where}: {' then '.join(map(brief, kinds)) or 'nothing'} is not supported, only "
            "ByteLevel, or Split then ByteLevel"
        )
    check_option(steps[-1], "add_prefix_space", (False,), where)
    if len(steps) == 1:
        check_option(steps[0], "use_regex", (None, True), where)
        return "gpt2"
    check_option(steps[1], "use_regex", (False,), where)
    return _read_split(steps[0], ours, f"{where}, Split")


def _read_split(split: dict[str, Any], ours: dict[str, Any], where: str) -> str:
    pattern = expect(split.get("pattern"), dict, f"{where}.pattern")
    regex: str = expect(pattern.get("Regex"), str, f"{where}.pattern.Regex")
    name = next((name for name, known in _REGEXES.items() if regex == known), None)
    # A pattern that leaves nothing out cuts in the same way when what it matches is kept and the
    # rest removed.
    keeps_matches = (split.get("behavior"), split.get("invert")) == ("Removed", True)
    if name is None or not keeps_matches:
        check_option(split, "behavior", ("Isolated",), where)
        check_option(split, "invert", (None, False), where)
    if name is not None:
        return name
    if ours.get("regex") == regex:
        return regex
    rest = unportable(regex)
    if rest is not None:
        raise ValueError(
            f"{where}.pattern.Regex has {brief(rest)}, which may mean something else to Hugging "
            "Face's regex engine than to the regex package; load with pattern=... to say what it "
            "means"
        )
    return regex


def _read_merges(merges: Any, where: str) -> SpelledMerges:
    """Read merges as strings of two tokens, or as pairs."""
    merges = expect(merges, list, where)
    kinds = set(map(type, merges))
    lines = merges if kinds <= {str} else []
    is_pairs = kinds == {list} and set(map(len, merges)) == {2}
    if is_pairs and set(map(type, chain.from_iterable(merges))) == {str}:
        lines = list(map(" ".join, merges))
    if len(lines) == len(merges):
        parts = split_merges("\n".join(lines))
        if parts is not None and len(parts.lefts) == len(merges):
            return parts
    lines = [" ".join(_read_merge(merge, f"{where}[{rank}]")) for rank, merge in enumerate(merges)]
    parts = split_merges("\n".join(lines))
    if parts is None:
        raise AssertionError("a merge is not two tokens")
    return parts


def _read_merge(merge: Any, where: str) -> tuple[str, str]:
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if (
        not isinstance(parts, list)
        or len(parts) != 2
        or not all(isinstance(part, str) and part for part in parts)
    ):
        raise ValueError(f"{where}: {brief(merge)} must be two tokens")
    for part in parts:
        try:
            unspell(part)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return parts[0], parts[1]


def _read_added_tokens(content: dict[str, Any], ids: dict[str, Any], name: str) -> dict[str, int]:
    """Read the ids of the added tokens, all of which are special to us."""
    entries = content.get("added_tokens")
    entries = [] if entries is None else expect(entries, list, f"{name}, added_tokens")
    specials: dict[str, int] = {}
    normalized: dict[bool, list[str]] = {True: [], False: []}
    following = len(ids)
    for place, entry in enumerate(entries):
        where = f"{name}, added_tokens[{place}]"
        entry = expect(entry, dict, where)
        token = expect(entry.get("content"), str, f"{where}.content")
        token_id = expect(entry.get("id"), int, f"{where}.id")
        for option in ("lstrip", "rstrip", "single_word"):
            check_option(entry, option, (None, False), where)
        if token in specials:
            raise ValueError(f"{where}: {brief(token)} comes twice")
        # The library goes by the model's vocab, and then counts on, whatever the file says.
        expected = ids.get(token, following)
        following += token not in ids
        if token_id != expected:
            raise ValueError(
                f"{where}: id {token_id} of {brief(token)} must be {expected}, as model.vocab has "
                f"it{'' if token in ids else ' or, as here, lacks it'}"
            )
        specials[token] = token_id
        normalized[bool(entry.get("normalized", True))].append(token)
    try:
        check_spelling(SpecialTokens(specials).tokens)
    except ValueError as error:
        raise ValueError(f"{name}, added_tokens: {error}") from None
    _check_order(normalized[False], normalized[True], f"{name}, added_tokens")
    return specials


def _check_order(first: Collection[str], second: Collection[str], where: str) -> None:
    """Refuse tokens of which the library would not find the leftmost first.

    It looks for those that are not `normalized` in all of the text, and only then for the others.
    """
    for one in first:
        for other in second:
            if one in other or any(
                other.endswith(one[:length]) for length in range(1, min(len(one), len(other)))
            ):
                raise ValueError(
                    f"{where}: {brief(other)} may overlap {brief(one)} after it, so they must not "
                    "differ in `normalized`"
                )


def _left_out(content: dict[str, Any]) -> list[str]:
    """Say what the library's `encode` does that ours does not."""
    notes = []
    post_processor = content.get("post_processor")
    steps = [post_processor] if isinstance(post_processor, dict) else []
    if steps and steps[0].get("type") == "Sequence":
        steps = steps[0].get("processors") or []
    others = [_kind(step) for step in steps if not _adds_nothing(step)]
    if others:
        notes.append(
            f"post_processor {' and '.join(others)}: ids are those of add_special_tokens=False"
        )
    notes += [
        f"{part}: encode gives all ids, and no others"
        for part in ("truncation", "padding")
        if content.get(part) is not None
    ]
    return notes


def _kind(step: Any) -> str:
    return str(step.get("type") if isinstance(step, dict) else step)


def _adds_nothing(step: Any) -> bool:
    """Tell whether a post-processor leaves the ids of one text as they are."""
    if _kind(step) != "TemplateProcessing":
        return _kind(step) == "ByteLevel"
    template = step.get("single")
    return isinstance(template, list) and all(
        isinstance(piece, dict) and list(piece) == ["Sequence"] for piece in template
    )


def write_hugging_face(path: str | os.PathLike[str], parts: Parts) -> list[str]:
    """Write tokenizer.json; Hugging Face's library gives the same ids with it.

    Args:
        path: where to.
        parts: all that makes the tokenizer.

    Returns:
        What that library may do otherwise, in words.

    Raises:
        ValueError: if a special token looks like the spelling of another token.
    """
    ours: dict[str, Any] = {}
    if parts.merges is None:
        parts = parts._replace(merges=merges_of_rule(parts), ignore_merges=True)
        ours["merges"] = "by id"
    notes = []
    regex = _REGEXES.get(parts.pattern, parts.pattern)
    rest = unportable(regex)
    if rest is not None:
        ours["regex"] = regex
        notes.append(
            f"Hugging Face's regex engine may read the pattern from {brief(rest)} on otherwise"
        )
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    pre_tokenizer: dict[str, Any] = byte_level
    if parts.pattern != "gpt2":
        split = {
            "type": "Split",
            "pattern": {"Regex": regex},
            "behavior": "Isolated",
            "invert": False,
        }
        pre_tokenizer = {
            "type": "Sequence",
            "pretokenizers": [split, {**byte_level, "use_regex": False}],
        }
    plain = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
    }
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": token_id, "content": token, **plain, "special": True}
            for token, token_id in parts.special_tokens.items()
        ],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
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
            "ignore_merges": parts.ignore_merges,
            **({_OURS: ours} if ours else {}),
            "vocab": spell_vocab(parts),
            "merges": spell_merges(parts),
        },
    }
    # A line for each part: an indented vocabulary takes json ten times as long.
    lines = (
        f"  {json.dumps(key)}: {json.dumps(v, ensure_ascii=False)}" for key, v in content.items()
    )
    write_text(Path(path), "{\n" + ",\n".join(lines) + "\n}")
    return notes
