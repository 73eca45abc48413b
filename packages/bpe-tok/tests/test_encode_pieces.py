from array import array

import pytest
from bpe_tok import PATTERNS, Tokenizer, train
from bpe_tok.segments import even_chunks
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
PIECES = st.lists(
    st.sampled_from(
        ["", " ", "\n", "the", " self", "été", "中", "'s", "<|endoftext|>", "<|en", "d|>"]
    ),
    max_size=40,
)  # fmt: skip


def ids_of(chunks: object) -> list[int]:
    return [token_id for chunk in chunks for token_id in chunk]  # type: ignore[attr-defined]


@given(PIECES, st.integers(1, 30), st.integers(1, 3), st.booleans())
def test_ids_are_those_of_the_whole(
    trained: Tokenizer, pieces: list[str], chunk_bytes: int, threads: int, as_bytes: bool
) -> None:
    given_pieces = [piece.encode() for piece in pieces] if as_bytes else pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bpe_tok.tokenizer.CHUNK_BYTES", chunk_bytes)
        for allowed in ("all", (), ["<|end|>"]):
            chunks = trained.encode_pieces(given_pieces, threads=threads, allowed_special=allowed)
            assert ids_of(chunks) == trained.encode("".join(pieces), allowed_special=allowed)


@pytest.mark.parametrize("pattern", [*PATTERNS, r"\w+|\s"])
def test_any_pattern(corpus: list[str], monkeypatch: pytest.MonkeyPatch, pattern: str) -> None:
    tokenizer = train(corpus, 400, ["<|end|>"], pattern=pattern)
    monkeypatch.setattr("bpe_tok.tokenizer.CHUNK_BYTES", 5000)
    chunks = list(tokenizer.encode_pieces(text + "<|end|>" for text in corpus))
    assert ids_of(chunks) == tokenizer.encode("".join(text + "<|end|>" for text in corpus))
    assert len(chunks) > 3
    assert all(isinstance(chunk, array) and chunk.typecode == "H" for chunk in chunks)


def test_pieces_are_taken_as_they_are_needed(
    trained: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe_tok.tokenizer.CHUNK_BYTES", 1000)
    taken = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal taken
        while True:
            taken += 1
            yield b"some words "

    assert len(next(trained.encode_pieces(endless()))) > 100
    assert taken < 200


def test_what_has_no_place_to_cut_is_refused_beyond_a_limit(
    trained: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bpe_tok.tokenizer.CHUNK_BYTES", 1000)
    spaces = [b"x y"] + [b" " * 100] * 100 + [b"z"]
    whole = trained.encode(b"".join(spaces))
    assert ids_of(trained.encode_pieces(spaces)) == whole
    assert ids_of(trained.encode_pieces(spaces, max_held_bytes=12_000)) == whole
    with pytest.raises(ValueError, match=r"one pretoken has more than 5000 bytes; it begins ' "):
        list(trained.encode_pieces(spaces, max_held_bytes=5000))
    custom = Tokenizer.byte_level(["<|end|>"])
    custom = Tokenizer(custom.vocab, [], ["<|end|>"], pattern=r"\w+|\s")
    with pytest.raises(ValueError, match=r"the pattern needs at once, has more than 5000 bytes"):
        list(custom.encode_pieces([b"a b "] * 5000, max_held_bytes=5000))
    assert len(ids_of(custom.encode_pieces([b"a b <|end|>"] * 5000, max_held_bytes=5000))) == 25_000


def test_wrong_arguments(trained: Tokenizer) -> None:
    with pytest.raises(TypeError, match="not one text; use encode_array"):
        trained.encode_pieces("text")
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        trained.encode_pieces(["a"], threads=0)
    with pytest.raises(ValueError, match=r"token '<\|end\|>' at index 4, "):
        list(trained.encode_pieces(["aé", "b<|end|>"], disallowed_special=["<|end|>"]))
    with pytest.raises(ValueError, match="lone surrogate"):
        list(trained.encode_pieces(["a\ud800"]))
    assert list(even_chunks([])) == list(trained.encode_pieces([])) == []
