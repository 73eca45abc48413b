from collections.abc import Iterable

import pytest
import regex
from bpe_tok.pretokenize import GPT2_PATTERN, blocks, even_chunks, pretokenize, stream_blocks
from bpe_tok.special import SpecialTokens
from bpe_tok.spelling import spell
from hypothesis import example, given
from hypothesis import strategies as st

SPECIALS = SpecialTokens(["<|a|>", "<|a|><|b|>", "|><|", "中", " "])
# Spaces and special tokens, whole and in part, wherever a chunk may end.
WILD = st.lists(
    st.sampled_from(
        [*" \t\n'_.-aZé9²中", "   ", "\r\n", "'s", "'ll", "\xa0", "<|a|>", "<|b|>", "<|", "|>", "|"]
    ),
    max_size=60,
).map("".join)


def reference(text: str) -> list[str]:
    return regex.findall(GPT2_PATTERN, text)


def pieces_of(text: str) -> list[str]:
    """The definition: the whole text is split on its special tokens, then by the pattern."""
    parts = enumerate(SPECIALS.split(text))
    return [piece for n, part in parts for piece in ([part] if n % 2 else reference(part))]


def pieces_of_blocks(text_blocks: Iterable[str]) -> list[str]:
    return [
        piece
        for block in text_blocks
        for piece in ([block] if block in SPECIALS.tokens else pretokenize(block))
    ]


def chunks(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


@given(WILD | st.text())
def test_pieces_are_those_of_the_pattern(text: str) -> None:
    assert pretokenize(text) == reference(text)


CONTRACTIONS = " ".join(
    f"{before}'{letters}{after}"
    for letters in ["s", "d", "m", "t", "ll", "ve", "re", "l", "v", "r", "S", "LL", "n"]
    for before in ["a", "", "é", "1", "'", "!"]
    for after in ["", "x", "é", "1", "'"]
)


@given(WILD)
@example(CONTRACTIONS)
@example(CONTRACTIONS.encode("ascii", "ignore").decode())
def test_pieces_are_hugging_faces(text: str) -> None:
    pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert [spell(piece.encode()) for piece in pretokenize(text)] == [piece for piece, _ in theirs]
    assert pretokenize(text) == reference(text)


def test_every_ascii_character_beside_every_other() -> None:
    characters = [chr(code) for code in range(128)]
    for first in characters:
        for second in characters:
            text = f"{first}{second}{first}"
            assert pretokenize(text) == reference(text)


@given(WILD, st.integers(1, 9))
def test_blocks_have_the_pretokens_of_the_text(text: str, block_chars: int) -> None:
    assert pieces_of_blocks(blocks(text, SPECIALS, block_chars)) == pieces_of(text)


@given(WILD, st.integers(1, 9))
def test_chunks_may_end_anywhere(text: str, chunk_chars: int) -> None:
    assert pieces_of_blocks(stream_blocks(chunks(text, chunk_chars), SPECIALS)) == pieces_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "x <|a|><|b|> y",
        "<|a|><|a|><|b|>|><|<|a|><|b",
        "one  <|a|>\n\n<|a|><|b|>'s 中<|a|><|",
    ],
)
def test_special_tokens_may_lie_over_any_chunks(text: str) -> None:
    for size in range(1, len(text) + 1):
        streamed = stream_blocks(chunks(text, size), SPECIALS)
        assert pieces_of_blocks(streamed) == pieces_of(text), size


@given(st.lists(st.text("ab", max_size=9)), st.integers(1, 5))
def test_even_chunks(pieces: list[str], chunk_chars: int) -> None:
    even = list(even_chunks(pieces, chunk_chars))
    assert "".join(even) == "".join(pieces)
    assert all(chunk_chars <= len(chunk) < 2 * chunk_chars for chunk in even[:-1])
    assert all(0 < len(chunk) < 2 * chunk_chars for chunk in even[-1:])


def test_streams_are_cut_where_they_can_be() -> None:
    specials = SpecialTokens(["<|endoftext|>"])
    for text in ["word " * 1000, "1,2,3," * 1000, "日本。" * 1000, "x\n\n\n" * 1000]:
        assert max(map(len, stream_blocks(chunks(text, 50), specials))) < 100


def test_one_pretoken_over_many_chunks_stays_whole() -> None:
    specials = SpecialTokens(["<|endoftext|>"])
    for text in ["a" * 1_000_000, " " * 1_000_000, "<|" * 500_000, "🙂" * 500_000]:
        assert "".join(stream_blocks(chunks(text, 1 << 16), specials)) == text
