import random
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import bpe_tok
import pytest
from bpe_tok import corpus as corpus_module
from bpe_tok import train, train_bpe, trainer
from bpe_tok._pure.special_finder import SpecialFinder
from bpe_tok.pretokenize import PATTERNS, pretokenize
from bpe_tok.text_reader import read_chunks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
SPECIALS = ["<|e|>", "<|e|><|e|>"]
CORPUS = st.lists(
    st.sampled_from(["the", " the", "a", "b", " ", "\n", "\r\n", "é", "中", "1", "'s", *SPECIALS]),
    max_size=60,
).map("".join)


def naive(
    texts: list[str],
    vocab_size: int,
    specials: list[str],
    pattern: str = "gpt2",
    min_frequency: int = 1,
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """The definition, with all pairs of the corpus counted anew each time."""
    vocab = {n: bytes([n]) for n in range(256)} | {
        256 + n: token.encode() for n, token in enumerate(specials)
    }
    words = [
        [bytes([byte]) for byte in pretoken.encode()]
        for text in texts
        for ordinary, _ in SpecialFinder(specials).split(text, None)
        for pretoken in pretokenize(ordinary, pattern)
    ]
    merges: list[tuple[bytes, bytes]] = []
    while len(vocab) < vocab_size:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < min_frequency:
            break
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
    expected = bpe_tok.Tokenizer.from_files(
        shared_data / "train-bpe-reference-vocab.json",
        shared_data / "train-bpe-reference-merges.txt",
    )
    assert merges == expected.merges
    assert set(vocab.values()) == set(expected.vocab.values())
    assert list(vocab) == list(range(500))


@given(CORPUS, st.integers(258, 300))
def test_train_bpe_is_the_definition(path: Path, text: str, vocab_size: int) -> None:
    path.write_bytes(text.encode())
    assert train_bpe(path, vocab_size, SPECIALS) == naive([text], vocab_size, SPECIALS)
    assert train_bpe(str(path), vocab_size, SPECIALS) == naive([text], vocab_size, SPECIALS)


@pytest.mark.parametrize("pattern", list(PATTERNS))
@settings(max_examples=20)
@given(st.lists(CORPUS, max_size=4), st.integers(258, 300), st.integers(1, 3), st.integers(1, 3))
def test_train_is_the_definition(
    pattern: str, texts: list[str], vocab_size: int, min_frequency: int, threads: int
) -> None:
    options = {"pattern": pattern, "min_frequency": min_frequency}
    tokenizer = train(texts, vocab_size, SPECIALS, threads=threads, **options)
    assert (tokenizer.vocab, tokenizer.merges) == naive(texts, vocab_size, SPECIALS, **options)
    assert tokenizer.pattern == pattern
    in_bytes = train([text.encode() for text in texts], vocab_size, SPECIALS, **options)
    assert in_bytes.fingerprint == tokenizer.fingerprint
    # What is made of checked parts is what the constructor makes of them.
    again = bpe_tok.Tokenizer(tokenizer.vocab, tokenizer.merges, SPECIALS, pattern=pattern)
    assert again.fingerprint == tokenizer.fingerprint


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", r"\w+|\s|."])
def test_files_of_many_chunks(
    path: Path, corpus: list[str], monkeypatch: pytest.MonkeyPatch, threads: int, pattern: str
) -> None:
    text = "<|e|>".join(corpus)
    path.write_bytes(text.encode())
    other = path.with_name("other.txt")
    other.write_bytes(corpus[-1].encode())
    whole = train([*corpus, corpus[-1]], 400, SPECIALS, pattern=pattern)
    monkeypatch.setattr(read_chunks, "__defaults__", (1000,))
    monkeypatch.setattr(corpus_module, "_PART_TEXTS", 2)
    for source in ([path, other], iter([path, other]), [path, corpus[-1]], [*corpus, other]):
        trained = train(source, 400, SPECIALS, pattern=pattern, threads=threads)  # type: ignore[arg-type]
        assert trained.fingerprint == whole.fingerprint


def test_pretokens_do_not_cross_documents(path: Path) -> None:
    assert train(["a", "b"] * 10, 300).merges == []
    assert train(["ab"] * 10, 300).merges == [(b"a", b"b")]
    path.write_bytes(b"a")
    assert train([path] * 10, 300).merges == []


def test_bytes_need_not_be_utf8() -> None:
    assert train([b"\xff\xfe"] * 2, 300, min_frequency=2).merges == [(b"\xff", b"\xfe")]


def test_special_tokens_take_no_part() -> None:
    tokenizer = train(["<|e|>" * 10 + "ab"], 300, SPECIALS)
    assert tokenizer.merges == [(b"a", b"b")]
    assert tokenizer.special_tokens == {"<|e|>": 256, "<|e|><|e|>": 257}
    assert tokenizer.vocab[258] == b"ab"


def test_the_order_of_documents_does_not_matter(corpus: list[str]) -> None:
    shuffled = random.Random(0).sample(corpus, len(corpus))
    assert train(shuffled, 500).fingerprint == train(corpus, 500).fingerprint


def test_progress_of_texts() -> None:
    calls: list[tuple[str, int, int | None]] = []
    texts = [f"é{n}" for n in range(1000)]
    train(texts, 500, on_progress=lambda *call: calls.append(call))
    total = sum(len(text.encode()) for text in texts)
    assert [call for call in calls if call[0] == "read"][-1] == ("read", total, None)
    merges = [call for call in calls if call[0] == "merge"]
    assert merges == [("merge", done, 244) for done in (64, 128, 192, 244)]


@pytest.mark.parametrize("threads", [1, 2])
def test_progress_of_files(path: Path, monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    path.write_bytes(b"some words " * 1000)
    monkeypatch.setattr(read_chunks, "__defaults__", (1000,))
    for source, total in [(path, 11_000), ([path, path], 22_000), (iter([path]), None)]:
        calls: list[tuple[str, int, int | None]] = []
        train(source, 260, threads=threads, on_progress=lambda *call: calls.append(call))  # noqa: B023
        read = [call for call in calls if call[0] == "read"]
        assert len(read) >= 10
        assert read == sorted(read)
        assert read[-1] == ("read", total or 11_000, total)
        assert all(call[2] == total for call in read)
        assert calls[-1] == ("merge", 4, 4)


def test_stops_when_no_pairs_are_left() -> None:
    calls: list[tuple[str, int, int | None]] = []
    tokenizer = train([], 1000, on_progress=lambda *call: calls.append(call))
    assert tokenizer.vocab_size == 256
    assert calls == [("merge", 0, 744)]


@pytest.mark.parametrize("stage", ["read", "merge"])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_leaves_nothing_behind(stage: str, threads: int) -> None:
    before = threading.active_count()

    def interrupt(name: str, done: int, total: int | None) -> None:
        if name == stage:
            raise KeyboardInterrupt

    endless = (f"text {n} of many " * 100 for n in iter(int, 1))
    with pytest.raises(KeyboardInterrupt):
        train(endless if stage == "read" else ["text"], 300, threads=threads, on_progress=interrupt)
    assert threading.active_count() == before


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


@pytest.mark.parametrize("threads", [1, 2])
def test_bad_text(path: Path, threads: int) -> None:
    with pytest.raises(ValueError, match=r"text 1 has a lone surrogate, U\+D800, at index 2"):
        train(["a", "bc\ud800"], 300, threads=threads)
    path.write_bytes(b"text \xff")
    with pytest.raises(ValueError, match=r"corpus\.txt: not UTF-8 at byte 5"):
        train(path, 300, threads=threads)
    path.write_bytes("some text é ".encode() * 200_000 + b"\xe4\xb8")
    with pytest.raises(ValueError, match=r"corpus\.txt: not UTF-8 at byte 2600000"):
        train(path, 300, threads=threads)


def test_bad_input(path: Path) -> None:
    with pytest.raises(ValueError, match=r"vocab_size=257 must be at least 258, for the 256 bytes"):
        train([], 257, SPECIALS)
    with pytest.raises(ValueError, match="min_frequency=0 must be at least 1"):
        train([], 300, min_frequency=0)
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        train([], 300, threads=0)
    for none in ("none.txt", path.parent / "none.txt", [path.parent / "none.txt"]):
        with pytest.raises(FileNotFoundError):
            train(none, 300)
    with pytest.raises(FileNotFoundError):
        train_bpe(path.parent / "none.txt", 300)
    some: Any = (b"text", 7)
    for source in some:
        with pytest.raises(TypeError, match="source must be a path, or an iterable of texts or pa"):
            train(source, 300)
    wrong: Any = ["text", 7]
    with pytest.raises(TypeError, match=r"source\[1\]=7 must be a text .* or a path .*, not int"):
        train(wrong, 300)


def test_the_most_merges() -> None:
    with pytest.raises(ValueError, match="and at most 1114112"):
        train([], 1114113)
    assert trainer.MAX_MERGES + 256 == 1114112


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=20)
@given(st.lists(st.text(), max_size=5), st.integers(256, 300))
def test_any_text_trains_and_comes_back(texts: list[str], vocab_size: int) -> None:
    tokenizer = bpe_tok.train(texts, vocab_size)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
