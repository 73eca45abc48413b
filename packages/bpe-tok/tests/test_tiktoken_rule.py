"""The claims of `bpe_tok.formats.tiktoken_rule`, held against tiktoken and Hugging Face."""

from pathlib import Path
from typing import Any

import pytest
from bpe_tok import Tokenizer
from bpe_tok.formats.parts import Parts
from bpe_tok.formats.tiktoken_rule import merges_of_rule, why_not_rule, without_ignore_merges
from hypothesis import given
from hypothesis import strategies as st

tiktoken = pytest.importorskip("tiktoken")
tokenizers = pytest.importorskip("tokenizers")

BYTES = [bytes([byte]) for byte in range(256)]
ALL = r"[\s\S]+"
"""A pattern by which a text is one pretoken."""

# Short tokens of few letters: they overlap, and some no merge ever makes.
tokens = st.lists(st.text("abc", min_size=2, max_size=6).map(str.encode), unique=True, max_size=14)
texts = st.lists(st.text("abc", max_size=24), min_size=40, max_size=40)


def tiktoken_ids(vocab: list[bytes], text: str) -> list[int]:
    encoding = tiktoken.Encoding(
        "rule",
        pat_str=ALL,
        mergeable_ranks={token: token_id for token_id, token in enumerate(vocab)},
        special_tokens={},
    )
    ids: list[int] = encoding.encode(text)
    return ids


def hugging_face(tokenizer: Tokenizer, folder: Path) -> Any:
    tokenizer.save(folder)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@given(extra=tokens, texts=texts)
def test_one_merge_a_token_does_what_the_rule_does(
    extra: list[bytes], texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    vocab = BYTES + extra
    rule = Tokenizer(dict(enumerate(vocab)), None, pattern=ALL)
    theirs = hugging_face(rule, tmp_path_factory.mktemp("rule"))
    for text in [*texts, *(token.decode() for token in extra)]:
        ids = tiktoken_ids(vocab, text)
        assert rule.encode(text) == ids
        assert theirs.encode(text).ids == ids


@st.composite
def merged(draw: st.DrawFn) -> Parts:
    vocab: list[bytes | None] = [*BYTES, *draw(tokens)]
    ids = {token: token_id for token_id, token in enumerate(vocab)}
    splits = [
        (ids[token[:cut]], ids[token[cut:]], token_id)
        for token, token_id in ids.items()
        if token is not None
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    chosen = draw(st.lists(st.sampled_from(splits), unique=True)) if splits else []
    if draw(st.booleans()):
        chosen.sort(key=lambda merge: merge[2])
    lefts, rights, wholes = map(list, zip(*chosen, strict=True)) if chosen else ([], [], [])
    return Parts(vocab, (lefts, rights, wholes), {}, ALL, draw(st.booleans()))


@given(parts=merged(), texts=texts)
def test_merges_that_pass_do_what_the_rule_does(
    parts: Parts, texts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    theirs = hugging_face(Tokenizer._from_ids(*parts), tmp_path_factory.mktemp("merges"))
    vocab = [token or b"" for token in parts.tokens]
    texts = [*texts, *(token.decode() for token in vocab[256:])]
    if why_not_rule(parts) is None:
        for text in texts:
            assert theirs.encode(text).ids == tiktoken_ids(vocab, text)
    try:
        explicit = without_ignore_merges(parts, "a file")
    except ValueError:
        return
    plain = hugging_face(Tokenizer._from_ids(*explicit), tmp_path_factory.mktemp("plain"))
    for text in texts:
        assert plain.encode(text).ids == theirs.encode(text).ids


def test_merges_that_the_rule_would_add_to() -> None:
    # The merges leave "abc" as "ab" and "c", which the rule would merge.
    vocab: list[bytes | None] = [*BYTES, b"ab", b"bc", b"abc"]
    merges = [97, 98, 97], [98, 99, 257], [256, 257, 258]
    reason = why_not_rule(Parts(vocab, merges, {}, ALL, ignore_merges=True))
    assert reason == "the merges leave the token b'abc', id 258, as [b'ab', b'c']"
    # In three it stays under the rule too, unless it is a word of its own.
    vocab = [*BYTES, b"abc"]
    assert why_not_rule(Parts(vocab, ([], [], []), {}, ALL, ignore_merges=True)) is None
    assert why_not_rule(Parts(vocab, ([], [], []), {}, ALL)) is not None


def test_trained_merges_come_back_from_the_rule(trained: Tokenizer) -> None:
    assert trained.merges is not None
    rule = trained._parts()._replace(merges=None)
    assert trained._merge_ids is not None
    assert list(merges_of_rule(rule)) == list(map(list, trained._merge_ids))
