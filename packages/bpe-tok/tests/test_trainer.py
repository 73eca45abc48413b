import random
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import bpe_tok
import pytest
from bpe_tok import formats, text_reader, train, train_bpe
from bpe_tok.pretokenize import pretokenize, stream_blocks
from bpe_tok.special import SpecialTokens
from bpe_tok.trainer import count_pretokens
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SPECIALS = ["<|e|>", "<|e|><|e|>"]
CORPUS = st.lists(
    st.sampled_from(["the", " the", "a", "b", " ", "\n", "\r\n", "é", "中", "1", "'s", *SPECIALS]),
    max_size=60,
).map("".join)


def naive(
    text: str, vocab_size: int, specials: list[str]
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """The definition, with all pairs of the corpus counted anew each time."""
    vocab = {n: bytes([n]) for n in range(256)} | {
        256 + n: token.encode() for n, token in enumerate(specials)
    }
    words = [
        [bytes([byte]) for byte in pretoken.encode()]
        for part in SpecialTokens(specials).split(text)[::2]
        for pretoken in pretokenize(part)
    ]
    merges: list[tuple[bytes, bytes]] = []
    while len(vocab) < vocab_size:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        vocab[len(vocab)] = best[0] + best[1]
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [best[0] + best[1]]
                i += 1
    return vocab, merges


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus") / "corpus.txt"


def test_the_reference_merges(shared_data: Path) -> None:
    vocab, merges = train_bpe(shared_data / "corpus.en", 500, ["<|endoftext|>"])
    expected_vocab, expected_merges = formats.read_gpt2(
        shared_data / "train-bpe-reference-vocab.json",
        shared_data / "train-bpe-reference-merges.txt",
    )
    assert merges == expected_merges
    assert set(vocab.values()) == set(expected_vocab.values())
    assert list(vocab) == list(range(500))


@given(CORPUS, st.integers(258, 300))
def test_train_bpe_is_the_definition(path: Path, text: str, vocab_size: int) -> None:
    path.write_bytes(text.encode())
    assert train_bpe(path, vocab_size, SPECIALS) == naive(text, vocab_size, SPECIALS)


@given(CORPUS, st.integers(1, 12))
def test_a_file_in_small_chunks_counts_the_same(path: Path, text: str, chunk_bytes: int) -> None:
    path.write_bytes(text.encode())
    specials = SpecialTokens(SPECIALS)
    in_chunks = stream_blocks(text_reader.read_text(path, chunk_bytes), specials)
    ordinary = (block for block in in_chunks if block not in SPECIALS)
    assert count_pretokens(ordinary) == count_pretokens(specials.split(text)[::2])


def test_a_file_of_many_chunks(
    path: Path, corpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "<|e|>".join(corpus)
    path.write_bytes(text.encode())
    whole = train(corpus, 400, SPECIALS)
    monkeypatch.setattr(text_reader.read_text, "__defaults__", (1000,))
    vocab, merges = train_bpe(path, 400, SPECIALS)
    assert (vocab, merges) == (whole.vocab, whole.merges)


def test_pretokens_do_not_cross_documents() -> None:
    assert train(["a", "b"] * 10, 300).merges == []
    assert train(["ab"] * 10, 300).merges == [(b"a", b"b")]


def test_special_tokens_take_no_part() -> None:
    tokenizer = train(["<|e|>" * 10 + "ab"], 300, SPECIALS)
    assert tokenizer.merges == [(b"a", b"b")]
    assert tokenizer.special_tokens == {"<|e|>": 256, "<|e|><|e|>": 257}
    assert tokenizer.vocab[258] == b"ab"


def test_the_order_of_documents_does_not_matter(corpus: list[str]) -> None:
    shuffled = random.Random(0).sample(corpus, len(corpus))
    assert train(shuffled, 500).fingerprint == train(corpus, 500).fingerprint


def test_stops_when_no_pairs_are_left() -> None:
    calls: list[tuple[int, int]] = []
    tokenizer = train([], 1000, on_progress=lambda *call: calls.append(call))
    assert tokenizer.vocab_size == 256
    assert calls == [(0, 744)]


def test_a_special_token_of_one_byte_is_that_byte() -> None:
    tokenizer = train(["one\ntwo\n"], 260, ["\n"])
    assert tokenizer.special_tokens == {"\n": 10}
    assert tokenizer.vocab_size == 260


def test_none_is_no_special_tokens(path: Path) -> None:
    assert train(["ab"], 300, None).fingerprint == train(["ab"], 300).fingerprint
    path.write_bytes(b"ab")
    assert train_bpe(path, 300, None) == train_bpe(path, 300)


def test_special_tokens_that_cannot_be_saved_are_refused_before_any_work(path: Path) -> None:
    def unread() -> Iterator[str]:
        raise AssertionError("read")
        yield ""

    with pytest.raises(ValueError, match=r"special token 'Ġt' .* use one in ASCII"):
        train(unread(), 300, ["Ġt"])
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="special token 'é'"):
        train_bpe(path, 300, ["<|x|>", "é"])


def test_bad_input(path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size=257 must be at least 258, for the 256 bytes"):
        train([], 257, SPECIALS)
    with pytest.raises(TypeError, match="not one string"):
        train("some text", 300)
    with pytest.raises(ValueError, match=r"text 1 has a lone surrogate, U\+D800, at index 2"):
        train(["a", "bc\ud800"], 300)
    path.write_bytes(b"text \xff")
    with pytest.raises(ValueError, match=r"corpus\.txt: not UTF-8 at byte 5"):
        train_bpe(path, 300)
    with pytest.raises(FileNotFoundError):
        train_bpe(path.parent / "none.txt", 300)


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(st.lists(st.text(), max_size=5), st.integers(256, 300))
def test_any_text_trains_and_comes_back(texts: list[str], vocab_size: int) -> None:
    tokenizer = bpe_tok.train(texts, vocab_size)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
