import pickle
import tracemalloc
import unicodedata
from collections.abc import Iterator
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import Tokenizer
from bpe_tok.pretokenize import BLOCK_CHARS, GPT2_PATTERN, even_chunks
from hypothesis import given
from hypothesis import strategies as st

# What the pattern and the special tokens tell apart, thick on the ground; and any character that
# was assigned long ago, for the references' Unicode tables may be older than ours.
PIECES = st.sampled_from(
    [*" \t\n\r\v\f'\x1c\x85\xa0\u3000\u200b_-.!", "  ", "\r\n", "'s", "'ll", "a", "é", "ß", "Ω",
     "中", "\u0301", "1", "٣", "Ⅷ", "²", "🙂", "👩\u200d👧", "\x00", "\ufeff", "the", " self",
     "return", "<|endoftext|>", "<|end|>", "<|end", "<|pad 0|>", "<|pad", "été"]
)  # fmt: skip
OLD_CHARACTERS = st.characters(exclude_categories=["Cs"]).filter(
    lambda character: unicodedata.ucd_3_2_0.category(character) != "Cn"
)
TEXTS = st.lists(PIECES | OLD_CHARACTERS, max_size=40).map("".join)


def tiktoken_like(tokenizer: Tokenizer) -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    special_ids = set(tokenizer.special_tokens.values())
    return tiktoken.Encoding(
        "same",
        pat_str=GPT2_PATTERN,
        mergeable_ranks={v: n for n, v in tokenizer.vocab.items() if n not in special_ids},
        special_tokens=tokenizer.special_tokens,
    )


@pytest.fixture(scope="module")
def gpt2(shared_data: Path) -> Tokenizer:
    return Tokenizer.from_files(
        shared_data / "gpt2_vocab.json", shared_data / "gpt2_merges.txt", ["<|endoftext|>"]
    )


@pytest.fixture(scope="module")
def gpt2_tiktoken(gpt2: Tokenizer) -> Any:
    return tiktoken_like(gpt2)


@pytest.fixture(scope="module")
def same_tiktoken(trained: Tokenizer) -> Any:
    # tiktoken does not promise that the longest special token wins, so it gets none that overlap.
    return tiktoken_like(Tokenizer(trained.vocab, trained.merges, ["<|endoftext|>", "<|pad 0|>"]))


@pytest.fixture(scope="module")
def same_hugging_face(trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("trained")
    trained.save(folder)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_gpt2_ids_of_real_text(gpt2: Tokenizer, gpt2_tiktoken: Any, shared_data: Path) -> None:
    for path in [*shared_data.glob("*.txt"), shared_data / "corpus.en"]:
        text = path.read_text(encoding="utf-8")
        ids = gpt2.encode(text)
        assert ids == gpt2_tiktoken.encode(text, allowed_special="all"), path.name
        assert gpt2.decode(ids) == text


@given(TEXTS)
def test_gpt2_ids_of_any_text(gpt2: Tokenizer, gpt2_tiktoken: Any, text: str) -> None:
    assert gpt2.encode(text) == gpt2_tiktoken.encode(text, allowed_special="all")


def test_gpt2_ids_of_every_character(gpt2: Tokenizer, gpt2_tiktoken: Any) -> None:
    codes = [*range(0xD800), *range(0xE000, 0x20000)]
    known = [c for c in map(chr, codes) if unicodedata.ucd_3_2_0.category(c) != "Cn"]
    text = "".join(f"a{character} 1" for character in known)
    assert gpt2.encode(text) == gpt2_tiktoken.encode(text)


def test_gpt2_ids_of_long_pretokens(gpt2: Tokenizer, gpt2_tiktoken: Any) -> None:
    for text in ["a" * 100_000, " " * 20_000 + "x", "abcdefgh" * 2000, "é🙂" * 500, "\n" * 9999]:
        assert gpt2.encode(text) == gpt2_tiktoken.encode(text)


@given(TEXTS)
def test_trained_ids_are_tiktokens(trained: Tokenizer, same_tiktoken: Any, text: str) -> None:
    text = text.replace("<|end|>", "").replace("été", "")
    assert trained.encode(text) == same_tiktoken.encode(text, allowed_special="all")


@given(TEXTS)
def test_trained_ids_are_hugging_faces(
    trained: Tokenizer, same_hugging_face: Any, text: str
) -> None:
    assert trained.encode(text) == same_hugging_face.encode(text).ids


def test_hugging_face_decodes_our_ids(
    trained: Tokenizer, same_hugging_face: Any, corpus: list[str]
) -> None:
    # Its decoder takes the é of a special token for a byte, so that one comes back wrong.
    for text in [*corpus, "one<|pad 0|>two"]:
        ids = trained.encode(text)
        assert ids == same_hugging_face.encode(text).ids
        assert same_hugging_face.decode(ids, skip_special_tokens=False) == text


def test_transformers_gives_the_same_ids(trained: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    trained.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = "def f(self):\n    return 'été'<|end|><|end|>  \n"
    assert theirs(text)["input_ids"] == trained.encode(text)


@given(TEXTS | st.text())
def test_decode_undoes_encode(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text


@given(st.binary())
def test_any_bytes_decode(data: bytes) -> None:
    tokenizer = Tokenizer.byte_level()
    assert tokenizer.decode_bytes(data) == data
    assert tokenizer.decode(data) == data.decode("utf-8", errors="replace")


def test_the_longest_special_token_wins(trained: Tokenizer) -> None:
    special = trained.special_tokens
    once, twice = special["<|end|>"], special["<|end|><|end|>"]
    assert trained.encode("<|end|>") == [once]
    assert trained.encode("<|end|>" * 3) == [twice, once]
    plain = Tokenizer(trained.vocab, trained.merges)
    assert plain.special_tokens == {}
    assert once not in plain.encode("<|end|>")


def test_unknown_special_tokens_are_appended(trained: Tokenizer) -> None:
    wider = Tokenizer(trained.vocab, trained.merges, ["<|new|>", "<|end|>", "<|b|>"])
    end = trained.special_tokens["<|end|>"]
    assert wider.special_tokens == {"<|end|>": end, "<|new|>": 1000, "<|b|>": 1001}
    assert list(wider.special_tokens) == ["<|end|>", "<|new|>", "<|b|>"]
    assert (trained.vocab_size, wider.vocab_size) == (1000, 1002)
    assert wider.encode("<|b|><|new|>") == [1001, 1000]


@given(TEXTS, st.lists(st.integers(0, 100)), st.integers(1, 20))
def test_encode_iterable_is_encode_of_the_whole(
    trained: Tokenizer, text: str, cuts: list[int], block_chars: int
) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(even_chunks, "__defaults__", (block_chars,))
        assert list(trained.encode_iterable(pieces)) == trained.encode(text)
    assert list(trained.encode_iterable(pieces)) == trained.encode(text)


def test_encode_iterable_of_lines_and_chunks(trained: Tokenizer, corpus: list[str]) -> None:
    text = "<|end|>".join(corpus)
    ids = trained.encode(text)
    assert list(trained.encode_iterable(text.splitlines(keepends=True))) == ids
    for size in (1, 7, 1000, 100_000):
        pieces = (text[i : i + size] for i in range(0, len(text), size))
        assert list(trained.encode_iterable(pieces)) == ids


def test_gpt2_ids_of_lines(gpt2: Tokenizer, gpt2_tiktoken: Any, shared_data: Path) -> None:
    text = "if x:\n\n    return 1\n"
    assert list(gpt2.encode_iterable(text.splitlines(keepends=True))) == gpt2_tiktoken.encode(text)
    for path in [*shared_data.glob("*.txt"), shared_data / "corpus.en"]:
        whole = gpt2_tiktoken.encode(path.read_bytes().decode(), allowed_special="all")
        with path.open(encoding="utf-8", newline="") as lines:
            assert list(gpt2.encode_iterable(lines)) == whole, path.name


def test_encode_iterable_is_lazy(trained: Tokenizer) -> None:
    taken_chars = 0

    def lines() -> Iterator[str]:
        nonlocal taken_chars
        while True:
            taken_chars += len("a line\n")
            yield "a line\n"

    stream = trained.encode_iterable(lines())
    assert taken_chars == 0
    assert trained.decode(islice(stream, 7)).startswith("a line\n")
    assert taken_chars < BLOCK_CHARS + 10
    with pytest.raises(TypeError, match="not one string; use encode"):
        trained.encode_iterable("a line\n")


@pytest.mark.parametrize(
    "piece", ["x", "a line of a file that has no end<|end|>\n", "a word of a long line " * 100_000]
)
def test_encode_iterable_holds_little(trained: Tokenizer, piece: str) -> None:
    # Now and then a space, or all of the text would be one pretoken.
    pieces = (piece if n % 9 else " " for n in count())
    stream = trained.encode_iterable(pieces)
    list(islice(stream, 10_000))
    tracemalloc.start()
    try:
        for _ in islice(stream, 100_000):
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 60 * BLOCK_CHARS


def test_byte_level() -> None:
    tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
    assert tokenizer.vocab_size == 257
    assert tokenizer.merges == []
    assert tokenizer.encode("é<|endoftext|>") == [0xC3, 0xA9, 256]
    assert tokenizer.decode([0xC3]) == "\ufffd"


def test_save_and_load(trained: Tokenizer, tmp_path: Path) -> None:
    trained.save(tmp_path / "new" / "folder")
    for path in (tmp_path / "new" / "folder", tmp_path / "new" / "folder" / "tokenizer.json"):
        loaded = Tokenizer.load(str(path))
        assert loaded.vocab == trained.vocab
        assert loaded.merges == trained.merges
        assert list(loaded.special_tokens.items()) == list(trained.special_tokens.items())
        assert loaded.fingerprint == trained.fingerprint
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path)


def test_fingerprints_differ(trained: Tokenizer) -> None:
    vocab, merges = trained.vocab, trained.merges
    swapped = {**vocab, 5: vocab[6], 6: vocab[5]}
    others = [
        Tokenizer(vocab, merges),
        Tokenizer(vocab, merges[:-1], trained.special_tokens),
        Tokenizer(swapped, merges, trained.special_tokens),
    ]
    assert len({trained.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_pickle(trained: Tokenizer) -> None:
    copy = pickle.loads(pickle.dumps(trained))
    assert copy.fingerprint == trained.fingerprint
    assert copy.encode("a copy<|end|>") == trained.encode("a copy<|end|>")


def test_repr() -> None:
    assert repr(Tokenizer.byte_level(["<|x|>"])) == (
        "Tokenizer(vocab_size=257, merges=0, special_tokens=['<|x|>'])"
    )


@pytest.mark.parametrize("token_id", [257, -1, 10**30])
def test_ids_outside_the_vocab(token_id: int) -> None:
    tokenizer = Tokenizer.byte_level(["<|x|>"])
    message = f"token id {token_id} is not in the vocab, ids are 0 to 256"
    with pytest.raises(ValueError, match=message):
        tokenizer.decode([97, token_id])
    with pytest.raises(ValueError, match=message):
        tokenizer.decode_bytes([token_id])


class Scalar:
    """An integer of no dimensions, as a tensor has them: equal ones differ in their hash."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_ids_of_other_integer_types() -> None:
    tokenizer = Tokenizer.byte_level()
    assert tokenizer.decode(map(Scalar, [104, 105])) == "hi"
    with pytest.raises(ValueError, match="token id 256 is not in the vocab"):
        tokenizer.decode([Scalar(256)])


@pytest.mark.parametrize("ids", [[104.0], [[104]], [None], ["h"], 104])
def test_ids_that_are_no_integers(ids: Any) -> None:
    with pytest.raises(TypeError, match=r"ids must be integers in one flat .*; decode the rows"):
        Tokenizer.byte_level().decode(ids)


def test_lone_surrogates_are_refused(trained: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"text has a lone surrogate, U\+DC80, at index 15"):
        trained.encode("<|end|> and été\udc80")
    with pytest.raises(ValueError, match=r"U\+DC80, at index 9000"):
        list(trained.encode_iterable(["é<|end|>\n"] * 1000 + ["\udc80"]))
