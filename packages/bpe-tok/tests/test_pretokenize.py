import regex
from bpe_tok.pretokenize import GPT2_PATTERN, blocks, pretokenize, stream_blocks
from bpe_tok.special import SpecialTokens
from hypothesis import given
from hypothesis import strategies as st

SPECIALS = SpecialTokens(["<|a|>", "<|a|><|b|>", "|><|", "é", " "])
# Spaces and special tokens, whole and in part, wherever a chunk may end.
WILD = st.lists(
    st.sampled_from(
        [*" \t\n'_.-aZé9²中", "   ", "\r\n", "'s", "'ll", "\xa0", "<|a|>", "<|b|>", "<|", "|>", "|"]
    ),
    max_size=60,
).map("".join)


def reference(text: str) -> list[str]:
    return regex.findall(GPT2_PATTERN, text)


def chunks(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


@given(WILD | st.text())
def test_pieces_are_those_of_the_pattern(text: str) -> None:
    assert pretokenize(text) == reference(text)


def test_every_ascii_character_beside_every_other() -> None:
    characters = [chr(code) for code in range(128)]
    for first in characters:
        for second in characters:
            text = f"{first}{second}{first}"
            assert pretokenize(text) == reference(text)


@given(WILD, st.integers(1, 9))
def test_blocks_have_the_pretokens_of_the_text(text: str, block_chars: int) -> None:
    parts = list(blocks(text, block_chars))
    assert "".join(parts) == text
    assert [piece for part in parts for piece in pretokenize(part)] == reference(text)


@given(WILD, st.integers(1, 9))
def test_chunks_may_end_anywhere(text: str, chunk_chars: int) -> None:
    streamed = stream_blocks(chunks(text, chunk_chars), SPECIALS)
    whole = [piece for part in SPECIALS.split(text)[::2] for piece in reference(part)]
    assert [piece for block in streamed for piece in pretokenize(block)] == whole


def test_streams_are_cut_where_they_can_be() -> None:
    specials = SpecialTokens(["<|endoftext|>"])
    for text in ["word " * 1000, "1,2,3," * 1000, "日本。" * 1000, "x\n\n\n" * 1000]:
        assert max(map(len, stream_blocks(chunks(text, 50), specials))) < 100


def test_one_pretoken_over_many_chunks_stays_whole() -> None:
    specials = SpecialTokens(["<|endoftext|>"])
    for text in ["a" * 1_000_000, " " * 1_000_000, "<|" * 500_000, "🙂" * 500_000]:
        assert "".join(stream_blocks(chunks(text, 1 << 16), specials)) == text
