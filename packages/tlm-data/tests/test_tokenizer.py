import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bpe_tok import Tokenizer, train
from hypothesis import given
from hypothesis import strategies as st
from tlm_data import END_OF_TEXT, BpeTokenizer, FunctionTokenizer
from tlm_data.tokenizer import DocumentTokenizer

TEXT = "the cat sat on the mat, thé 漢字 🙂 isn't it  \n\n 123 " * 20
WORDS = ["the", " cat", "é", "漢", "\n", "  ", "<|endoftext|>", "<|pad|>", "<|endof", "text|>", "a"]
DOCUMENTS = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(lambda w: "".join(w).encode()),
    min_size=1,
    max_size=8,
)


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train([TEXT.encode()], 400, [END_OF_TEXT, "<|pad|>", "aa"])


def divided(tokenizer: DocumentTokenizer, documents: list[bytes]) -> list[list[int]]:
    ids, lengths = tokenizer.encode_documents(documents)
    assert len(lengths) == len(documents) and ids.dtype == np.uint16
    assert lengths.sum() == len(ids)
    return [part.tolist() for part in np.split(ids, np.cumsum(lengths)[:-1])]


@given(documents=DOCUMENTS)
@pytest.mark.parametrize("append_end", [True, False])
@pytest.mark.parametrize("end_token", [END_OF_TEXT, "aa"])  # the second one overlaps itself
@pytest.mark.parametrize("parse_special", [True, False])
def test_documents_have_the_ids_of_each_alone(
    trained: Tokenizer,
    documents: list[bytes],
    append_end: bool,
    end_token: str,
    parse_special: bool,
) -> None:
    tokenizer = BpeTokenizer(
        trained, end_token=end_token, append_end=append_end, parse_special=parse_special
    )
    allowed = "all" if parse_special else ()
    end = [trained.special_tokens[end_token]] if append_end else []
    expected = [[*trained.encode(text, allowed_special=allowed), *end] for text in documents]
    assert divided(tokenizer, documents) == expected
    for text, ids in zip(documents, expected, strict=True):
        pieces = [text[start : start + 3] for start in range(0, len(text), 3)]
        assert np.concatenate(list(tokenizer.encode_pieces(pieces))).tolist() == ids


@given(
    documents=st.lists(
        st.lists(st.sampled_from([*WORDS, "\t", " \n"]), max_size=6).map(lambda w: "".join(w)),
        max_size=8,
    ),
    ends=st.tuples(st.booleans(), st.booleans()),
)
def test_joined_documents_have_the_ids_of_divided_ones(
    trained: Tokenizer, documents: list[str], ends: tuple[bool, bool]
) -> None:
    tokenizer, mark = BpeTokenizer(trained), END_OF_TEXT.encode()
    text = mark * ends[0] + mark.join(d.encode() for d in documents) + mark * ends[1]
    parts = [part for part in text.split(mark) if part]
    encoded = tokenizer.encode_joined(text, mark)
    assert (encoded is None) == any(part.isspace() for part in parts)
    if encoded is not None and parts:
        ids, lengths, num_bytes = encoded
        expected_ids, expected_lengths = tokenizer.encode_documents(parts)
        assert ids.tolist() == expected_ids.tolist()
        assert lengths.tolist() == expected_lengths.tolist()
        assert num_bytes == sum(map(len, parts))


def test_documents_joined_by_anything_else_are_divided_first(trained: Tokenizer) -> None:
    assert BpeTokenizer(trained).encode_joined(b"a\n\nb", b"\n\n") is None
    assert BpeTokenizer(trained, append_end=False).encode_joined(b"a", END_OF_TEXT.encode()) is None


def test_ids_are_those_of_hugging_face(trained: Tokenizer, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = BpeTokenizer(trained)
    tokenizer.save(tmp_path / "saved")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "saved" / "tokenizer.json"))
    texts = [TEXT, "a", "the end\n"]
    expected = [theirs.encode(text + END_OF_TEXT).ids for text in texts]
    assert divided(tokenizer, [text.encode() for text in texts]) == expected


def test_a_folder_is_loaded_and_a_tokenizer_pickled(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path)
    tokenizer = pickle.loads(pickle.dumps(BpeTokenizer(tmp_path)))
    assert tokenizer.fingerprint == trained.fingerprint
    ids, _ = tokenizer.encode_documents([TEXT.encode()])
    assert tokenizer.decode_bytes(ids[:-1]) == TEXT.encode()


def test_what_is_no_tokenizer_or_lacks_the_end_token(trained: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none is not a tokenizer: No such file"):
        BpeTokenizer(tmp_path / "none")
    with pytest.raises(ValueError, match=r"lacks the special token <eot>.*<\|pad\|>"):
        BpeTokenizer(trained, end_token="<eot>")
    plain = BpeTokenizer(Tokenizer.byte_level(), append_end=False)
    assert plain.end_id is None
    assert divided(plain, [b"ab", b"c"]) == [[97, 98], [99]]


def test_a_pretoken_beyond_measure_is_refused_in_bounded_memory(trained: Tokenizer) -> None:
    def spaces() -> Iterator[bytes]:
        while True:
            yield b" " * (1 << 20)

    with pytest.raises(ValueError, match=r"one pretoken has more than 16777216 bytes"):
        list(BpeTokenizer(trained).encode_pieces(spaces()))


def test_a_function_of_tiktokens(trained: Tokenizer) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r".|\n", mergeable_ranks=ranks, special_tokens={})
    tokenizer = FunctionTokenizer(
        encoding.encode_ordinary,
        encoding.decode,
        vocab_size=257,
        fingerprint="tiktoken bytes",
        end_id=256,
    )
    assert divided(tokenizer, [b"ab", "é".encode()]) == [[97, 98, 256], [0xC3, 0xA9, 256]]
    ids = np.concatenate(list(tokenizer.encode_pieces([b"a", b"b"])))
    assert ids.tolist() == [97, 98, 256]
    assert tokenizer.decode_bytes(ids[:-1]) == b"ab"


def test_a_function_that_gives_other_ids_than_it_should() -> None:
    tokenizer = FunctionTokenizer(
        lambda text: [300], lambda ids: "", vocab_size=256, fingerprint="wrong"
    )
    with pytest.raises(ValueError, match=r"wrong gave the ids 300 to 300, outside .* 0\.\.255"):
        tokenizer.encode_documents([b"a"])
    with pytest.raises(ValueError, match=r"more than 67108864 bytes, too many for .* wrong"):
        list(tokenizer.encode_pieces([bytes(1 << 20)] * 65))
    for wrong in ([1.5], ["a"], {"ids": [1]}, None, [[1], [2, 3]]):
        other = FunctionTokenizer(lambda text: wrong, str, vocab_size=9, fingerprint="x")  # type: ignore[arg-type, return-value]  # noqa: B023
        with pytest.raises(TypeError, match=r"x must encode text as a list of whole numbers, and"):
            other.encode_documents([b"a"])
    with pytest.raises(ValueError, match=r"end_id=256 must lie in the vocabulary 0\.\.255"):
        FunctionTokenizer(list, str, vocab_size=256, fingerprint="x", end_id=256)  # type: ignore[arg-type]
