from collections.abc import Iterable, Iterator

import pytest
from bpe_tok import PATTERNS
from bpe_tok._pure.special_finder import SpecialFinder
from bpe_tok.pretokenize import named_pretokenizer
from bpe_tok.segments import Segmenter, even_chunks
from hypothesis import given
from hypothesis import strategies as st

SPECIALS = ["<|a|>", "<|a|><|b|>", "|><|", "中", " ", "'s"]
FINDER = SpecialFinder(SPECIALS)
# Spaces and special tokens, whole and in part, wherever a chunk may end.
WILD = st.lists(
    st.sampled_from(
        [
            *[piece.encode() for piece in " \t\n'_.-/aZé9²中\u0301\u017f"], b"   ", b"\r\n", b"'s",
            b"'ll", b"\xa0", b"<|a|>", b"<|b|>", b"<|", b"|>", b"|", b"\xff", b"\xe4", b"\xf0\x9f",
            b"\x80",
        ]
    ),
    max_size=60,
).map(b"".join)  # fmt: skip
FLAGS = st.none() | st.lists(st.integers(0, 1), min_size=6, max_size=6).map(bytes)


def pieces_of(pattern: str, data: bytes, allowed: bytes | None) -> list[str]:
    """The definition: the whole text is split on its special tokens, then by the pattern."""
    pieces = []
    for ordinary, special in FINDER.split(data.decode("utf-8", "surrogateescape"), allowed):
        pieces += named_pretokenizer(pattern).split(ordinary)
        pieces += [] if special is None else [SPECIALS[special]]
    return pieces


def chunks(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def segmenter(pattern: str | None, specials: Iterable[str], allowed: bytes | None) -> Segmenter:
    pretokenizer = named_pretokenizer(pattern) if pattern else None
    return Segmenter(pretokenizer, [token.encode() for token in specials], allowed)


@pytest.mark.parametrize("pattern", list(PATTERNS))
@given(WILD, st.integers(1, 9), FLAGS)
def test_chunks_may_end_anywhere(
    pattern: str, data: bytes, chunk_bytes: int, allowed: bytes | None
) -> None:
    segments = list(segmenter(pattern, SPECIALS, allowed).segments(chunks(data, chunk_bytes)))
    assert b"".join(segments) == data
    pieces = [piece for segment in segments for piece in pieces_of(pattern, segment, allowed)]
    assert pieces == pieces_of(pattern, data, allowed)


@given(WILD, st.integers(1, 9), FLAGS)
def test_without_a_pattern_cuts_are_at_special_tokens(
    data: bytes, chunk_bytes: int, allowed: bytes | None
) -> None:
    segments = list(segmenter(None, SPECIALS, allowed).segments(chunks(data, chunk_bytes)))
    assert b"".join(segments) == data
    for segment in segments[:-1]:
        *_, (_, special), last = FINDER.split(segment.decode("utf-8", "surrogateescape"), allowed)
        assert last == ("", None)
        assert special is not None


@given(WILD, st.integers(1, 9), FLAGS)
def test_no_special_token_lies_across(data: bytes, chunk_bytes: int, allowed: bytes | None) -> None:
    place = 0
    for segment in segmenter("gpt2", SPECIALS, allowed).segments(chunks(data, chunk_bytes)):
        place += len(segment)
        for token in map(str.encode, SPECIALS):
            assert token not in data[max(place - len(token) + 1, 0) : place + len(token) - 1]


@pytest.mark.parametrize(
    "text",
    [
        "x <|a|><|b|> y",
        "<|a|><|a|><|b|>|><|<|a|><|b",
        "one  <|a|>\n\n<|a|><|b|>'s 中<|a|><|",
    ],
)
def test_special_tokens_may_lie_over_any_chunks(text: str) -> None:
    data = text.encode()
    for size in range(1, len(data) + 1):
        segments = segmenter("gpt2", SPECIALS, None).segments(chunks(data, size))
        pieces = [piece for segment in segments for piece in pieces_of("gpt2", segment, None)]
        assert pieces == pieces_of("gpt2", data, None), size


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_streams_are_cut_where_they_can_be(pattern: str) -> None:
    for text in [
        "word " * 1000, "1,2,3," * 1000, "日本。" * 1000, "x\n\n\n" * 1000, "<|endoftext|>" * 500,
        "a<|endoftext|>" * 500, "-- \n" * 1000, "é\xff 1",
    ]:  # fmt: skip
        longest = segmenter(pattern, ["<|endoftext|>"], None).segments(chunks(text.encode(), 50))
        assert max(map(len, longest)) < 120


def test_one_pretoken_over_many_chunks_stays_whole() -> None:
    for unit in ["a", " ", "<|", "🙂", "<|endoftext|"]:
        data = unit.encode() * (1_000_000 // len(unit))
        segments = segmenter("gpt2", ["<|endoftext|>"], None).segments(chunks(data, 1 << 16))
        assert b"".join(segments) == data


@given(st.lists(st.text("ab", max_size=9)), st.integers(1, 5))
def test_even_chunks(pieces: list[str], chunk_chars: int) -> None:
    even = list(even_chunks(pieces, chunk_chars))
    assert b"".join(even) == "".join(pieces).encode()
    assert all(chunk_chars <= len(chunk) < 2 * chunk_chars for chunk in even[:-1])
    assert all(0 < len(chunk) < 2 * chunk_chars for chunk in even[-1:])
    assert list(even_chunks(map(str.encode, pieces), chunk_chars)) == even


def test_pieces_of_one_kind() -> None:
    with pytest.raises(TypeError, match="pieces of a text must be str as those before it, not by"):
        list(even_chunks(["a", b"b"]))
    with pytest.raises(TypeError, match="must be bytes as those before it, not str"):
        list(even_chunks([b"a", "b"]))
    with pytest.raises(TypeError, match="pieces of a text must be str or bytes, not int"):
        list(even_chunks([1]))  # type: ignore[list-item]
