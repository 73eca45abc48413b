import copy
import pickle
import sys
import threading
import tracemalloc
from array import array
from collections.abc import Iterator
from itertools import count, islice, pairwise
from typing import Any

import pytest
from bpe_tok import PATTERNS, Tokenizer, _engine
from bpe_tok.segments import CHUNK_CHARS, even_chunks
from bpe_tok.tokenizer import MAX_TOKENS
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
PIECES = st.sampled_from(
    [*" \t\n'\xa0_-.!1a", "  ", "\r\n", "'s", "'ll", "é", "中", "\u0301", "²", "🙂", "the", " self",
     "return", "<|endoftext|>", "<|end|>", "<|end", "<|pad 0|>", "<|pad", "été"]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join)
STRAYS = st.sampled_from([b"\xff", b"\xe4\xb8", b"\xf0\x9f", b"\x80", b"\xc3"])
DATA = st.lists(PIECES.map(str.encode) | STRAYS, max_size=40).map(b"".join) | st.binary()
BYTES = {n: bytes([n]) for n in range(256)}


@given(TEXTS)
def test_decode_undoes_encode(trained: Tokenizer, text: str) -> None:
    assert trained.decode(trained.encode(text)) == text
    assert trained.encode(text.encode()) == trained.encode(text)


@given(DATA)
def test_bytes_need_not_be_utf8(trained: Tokenizer, data: bytes) -> None:
    ids = trained.encode(data)
    assert trained.decode_bytes(ids) == data
    assert trained.decode(ids) == data.decode("utf-8", "replace")


@given(st.binary())
def test_any_bytes_decode(data: bytes) -> None:
    tokenizer = Tokenizer.byte_level()
    assert tokenizer.decode_bytes(data) == data
    assert tokenizer.decode(data) == data.decode("utf-8", errors="replace")


@given(TEXTS | DATA)
def test_all_ways_to_encode_are_one(trained: Tokenizer, text: str | bytes) -> None:
    numpy = pytest.importorskip("numpy")
    for allowed in ("all", (), ["<|end|>", "été"]):
        ids = trained.encode(text, allowed_special=allowed)
        assert trained.count(text, allowed_special=allowed) == len(ids)
        encoded = trained.encode_array(text, allowed_special=allowed)
        assert encoded.dtype == numpy.uint16
        assert encoded.tolist() == ids
        assert trained.encode_batch([text, "", text], allowed_special=allowed) == [ids, [], ids]


def test_arrays_can_be_written_to(trained: Tokenizer) -> None:
    encoded = trained.encode_array("some text")
    encoded[0] = 7
    assert encoded[0] == 7
    assert trained.encode_array("").shape == (0,)


@pytest.mark.parametrize(
    ("vocab_size", "dtype", "typecode"), [(65_536, "uint16", "H"), (65_537, "uint32", "I")]
)
def test_the_width_of_ids(tmp_path: Any, vocab_size: int, dtype: str, typecode: str) -> None:
    pytest.importorskip("numpy")
    vocab = BYTES | {n: n.to_bytes(3, "big") for n in range(256, vocab_size - 1)}
    tokenizer = Tokenizer(vocab, [], ["<|x|>"])
    assert tokenizer.vocab_size == vocab_size
    encoded = tokenizer.encode_array("a<|x|>")
    assert (encoded.dtype, encoded.tolist()) == (dtype, [97, vocab_size - 1])
    (tmp_path / "text.txt").write_text("a<|x|>")
    chunks = list(tokenizer.encode_file(tmp_path / "text.txt"))
    assert {chunk.typecode for chunk in chunks} == {typecode}
    assert [token_id for chunk in chunks for token_id in chunk] == [97, vocab_size - 1]


def test_without_numpy(trained: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match=r"encode_array needs NumPy: pip install 'bpe-tok\[num"):
        trained.encode_array("text")


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_batches_in_threads(trained: Tokenizer, corpus: list[str], threads: int | None) -> None:
    texts = [line for text in corpus for line in text.splitlines(keepends=True)] * 2
    assert sum(map(len, texts)) > 1 << 16
    expected = [trained.encode(text) for text in texts]
    assert trained.encode_batch(texts, threads=threads) == expected
    assert trained.encode_batch(iter(texts), threads=threads) == expected
    long = "".join(texts)
    assert trained.encode_batch([long, long], threads=threads) == [trained.encode(long)] * 2
    assert trained.encode_batch([], threads=threads) == []
    assert trained.decode_batch(expected) == texts


def test_bad_batches(trained: Tokenizer) -> None:
    long = "é" * 100_000
    for threads in (1, 2):
        with pytest.raises(
            ValueError, match=r"texts\[1\] has a lone surrogate, .* at index 100000"
        ):
            trained.encode_batch([long, long + "\ud800"], threads=threads)
        with pytest.raises(TypeError, match="text must be str or bytes, not int"):
            trained.encode_batch([long, 1], threads=threads)  # type: ignore[list-item]
    with pytest.raises(
        ValueError, match=r"texts\[1\] has the special token '<\|end\|>' at index 1"
    ):
        trained.encode_batch(["<", "x<|end|>"], disallowed_special=["<|end|>"])
    for text in ("text", b"text"):
        with pytest.raises(TypeError, match="must be a list of texts, not one text"):
            trained.encode_batch(text)
    with pytest.raises(ValueError, match="threads=0 must be at least 1"):
        trained.encode_batch([], threads=0)


def test_one_tokenizer_in_many_threads(trained: Tokenizer, corpus: list[str]) -> None:
    texts = [line for text in corpus for line in text.splitlines(keepends=True)]
    texts += [text + "x" * 9000 for text in corpus]  # long enough to let other threads run
    expected = [trained.encode(text) for text in texts]
    problems: list[str] = []
    start = threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait()
        for place in [*range(seed, len(texts)), *range(seed)]:
            ids = trained.encode(texts[place])
            if ids != expected[place] or trained.decode(ids) != texts[place]:
                problems.append(texts[place])
        if trained.encode_batch(texts[:50], threads=2) != expected[:50]:
            problems.append("batch")

    threads = [threading.Thread(target=work, args=(97 * n % len(texts),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_the_longest_special_token_wins(trained: Tokenizer) -> None:
    special = trained.special_tokens
    once, twice = special["<|end|>"], special["<|end|><|end|>"]
    assert trained.encode("<|end|>") == [once]
    assert trained.encode("<|end|>" * 3) == [twice, once]
    assert trained.encode("<|end|>" * 3, allowed_special=["<|end|>"]) == [once] * 3
    plain = Tokenizer(trained.vocab, trained.merges)
    assert plain.special_tokens == {}
    assert once not in plain.encode("<|end|>")
    assert plain.encode("<|end|>") == trained.encode("<|end|>", allowed_special=())


def test_unknown_special_tokens_are_appended(trained: Tokenizer) -> None:
    wider = Tokenizer(trained.vocab, trained.merges, ["<|new|>", "<|end|>", "<|b|>"])
    end = trained.special_tokens["<|end|>"]
    assert wider.special_tokens == {"<|end|>": end, "<|new|>": 1000, "<|b|>": 1001}
    assert list(wider.special_tokens) == ["<|end|>", "<|new|>", "<|b|>"]
    assert (trained.vocab_size, wider.vocab_size) == (1000, 1002)
    assert wider.encode("<|b|><|new|>") == [1001, 1000]


@pytest.mark.parametrize("prefix", ["", "é🙂 "])
def test_a_disallowed_special_token(trained: Tokenizer, prefix: str) -> None:
    text = prefix + "one<|end|><|endoftext|>"
    place = len(prefix) + 3
    message = (
        rf"has the special token '<\|end\|>' at index {place}, which disallowed_special refuses; "
        "to encode it as its id, pass allowed_special=.*; to encode it as ordinary text, leave it "
    )
    for disallowed in ("all", ["<|end|>"], ["<|endoftext|>", "<|end|>"]):
        options: Any = {"allowed_special": (), "disallowed_special": disallowed}
        for encode in (trained.encode, trained.encode_array, trained.count):
            with pytest.raises(ValueError, match=f"text {message}"):
                encode(text, **options)  # type: ignore[operator]
        with pytest.raises(ValueError, match=f"text {message}"):
            list(trained.encode_iterable([text[:5], text[5:]], **options))
    byte_place = len(prefix.encode()) + 3
    with pytest.raises(ValueError, match=f"at index {byte_place}, which"):
        trained.encode(text.encode(), disallowed_special=["<|end|>"])
    assert trained.encode(text, disallowed_special="all") == trained.encode(text)


@given(TEXTS, st.lists(st.integers(0, 100)), st.integers(1, 20))
def test_encode_iterable_is_encode_of_the_whole(
    trained: Tokenizer, text: str, cuts: list[int], chunk_chars: int
) -> None:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(even_chunks, "__defaults__", (chunk_chars,))
        for allowed in ("all", (), ["<|end|>", "été"]):
            ids = trained.encode(text, allowed_special=allowed)
            assert list(trained.encode_iterable(pieces, allowed_special=allowed)) == ids
    assert list(trained.encode_iterable(pieces)) == trained.encode(text)


@given(DATA, st.lists(st.integers(0, 100)), st.integers(1, 20))
def test_encode_iterable_takes_bytes(
    trained: Tokenizer, data: bytes, cuts: list[int], chunk_bytes: int
) -> None:
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(even_chunks, "__defaults__", (chunk_bytes,))
        assert list(trained.encode_iterable(pieces)) == trained.encode(data)


def test_encode_iterable_of_lines_and_chunks(trained: Tokenizer, corpus: list[str]) -> None:
    text = "<|end|>".join(corpus)
    ids = trained.encode(text)
    assert list(trained.encode_iterable(text.splitlines(keepends=True))) == ids
    for size in (1, 7, 1000, 100_000):
        pieces = (text[i : i + size] for i in range(0, len(text), size))
        assert list(trained.encode_iterable(pieces)) == ids


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
    assert taken_chars < CHUNK_CHARS + 10
    for text in ("a line\n", b"a line\n"):
        with pytest.raises(TypeError, match="not one string; use encode"):
            trained.encode_iterable(text)  # type: ignore[arg-type]


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
    assert peak_bytes < 60 * CHUNK_CHARS


def test_byte_level() -> None:
    tokenizer = Tokenizer.byte_level(["<|endoftext|>"])
    assert tokenizer.vocab_size == 257
    assert tokenizer.merges == []
    assert tokenizer.encode("é<|endoftext|>") == [0xC3, 0xA9, 256]
    assert tokenizer.decode([0xC3]) == "\ufffd"


def test_gaps_between_the_ids() -> None:
    tokenizer = Tokenizer({**BYTES, 300: b"ab", 400: b"<|y|>"}, [(b"a", b"b")], ["<|x|>", "<|y|>"])
    assert tokenizer.vocab_size == 402
    assert tokenizer.special_tokens == {"<|y|>": 400, "<|x|>": 401}
    ids = tokenizer.encode("abc<|x|><|y|>")
    assert ids == [300, 99, 401, 400]
    assert tokenizer.decode(ids) == "abc<|x|><|y|>"
    assert list(tokenizer.vocab) == [*range(256), 300, 400, 401]
    for missing in (299, 301, 402):
        with pytest.raises(ValueError, match=f"token id {missing} is not in the vocab"):
            tokenizer.decode([97, missing])


def test_tiktokens_rule() -> None:
    # The lowest id first, though "bc" is to the right; and what is a token whole is that token.
    vocab = {**BYTES, 256: b"bc", 257: b"ab", 258: b"abd", 259: b"<|x|>"}
    tokenizer = Tokenizer(vocab, None, ["<|x|>"])
    assert tokenizer.merges is None
    assert tokenizer.ignore_merges
    assert tokenizer.encode("abc") == [97, 256]
    assert tokenizer.encode("abd") == [258]
    assert tokenizer.encode("abde") == [258, 101]
    # A special token's text is not put together again where it is not allowed.
    assert tokenizer.encode("<|x|>", allowed_special=()) == list(b"<|x|>")
    assert repr(tokenizer) == (
        "Tokenizer(vocab_size=260, merges=tiktoken's rule, special_tokens=['<|x|>'], "
        "pattern='gpt2')"
    )


def test_ignored_merges() -> None:
    vocab = {**BYTES, 256: b"ab", 257: b"abc"}
    merges = [(b"a", b"b")]
    assert Tokenizer(vocab, merges).encode("abc abc") == [256, 99, 32, 256, 99]
    assert Tokenizer(vocab, merges, ignore_merges=True).encode("abc abc") == [257, 32, 256, 99]


def test_fingerprints_differ(trained: Tokenizer) -> None:
    vocab, merges, specials = trained.vocab, trained.merges, trained.special_tokens
    swapped = {**vocab, 5: vocab[6], 6: vocab[5]}
    others = [
        Tokenizer(vocab, merges),
        Tokenizer(vocab, (merges or [])[:-1], specials),
        Tokenizer(swapped, merges, specials),
        Tokenizer(vocab, merges, specials, ignore_merges=True),
        Tokenizer(vocab, None, specials),
        Tokenizer({**vocab, 1001: b"<|new|>"}, merges, specials),
        *(Tokenizer(vocab, merges, specials, pattern=name) for name in PATTERNS if name != "gpt2"),
        Tokenizer(vocab, merges, specials, pattern=r"\w+"),
    ]
    assert len({trained.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    by_regex = Tokenizer(vocab, merges, specials, pattern=PATTERNS["o200k"])
    assert by_regex.fingerprint == Tokenizer(vocab, merges, specials, pattern="o200k").fingerprint
    assert by_regex.pattern == "o200k"


@pytest.mark.parametrize(
    "options",
    [{}, {"pattern": "o200k"}, {"pattern": r"\w+|\W"}, {"ignore_merges": True}, {"merges": None}],
)
def test_copies(trained: Tokenizer, options: dict[str, Any]) -> None:
    arguments = {"merges": trained.merges, **options}
    tokenizer = Tokenizer(trained.vocab, special_tokens=trained.special_tokens, **arguments)
    text = "a copy<|end|> (or two)"
    for twin in (
        pickle.loads(pickle.dumps(tokenizer)), copy.copy(tokenizer), copy.deepcopy(tokenizer)
    ):  # fmt: skip
        assert twin.fingerprint == tokenizer.fingerprint
        assert (twin.vocab, twin.merges) == (tokenizer.vocab, tokenizer.merges)
        assert (twin.pattern, twin.ignore_merges) == (tokenizer.pattern, tokenizer.ignore_merges)
        assert twin.encode(text) == tokenizer.encode(text)


def test_a_pickle_works_with_the_other_engine(trained: Tokenizer) -> None:
    data = pickle.dumps(trained)
    text = "some<|end|> text"
    ids = trained.encode(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_engine, "implementation", _engine.choose("pure")[1])
        assert pickle.loads(data).encode(text) == ids


def test_what_is_given_is_copied(trained: Tokenizer) -> None:
    vocab, merges = dict(trained.vocab), list(trained.merges or [])
    tokenizer = Tokenizer(vocab, merges, ["<|end|>"])
    vocab.clear()
    merges.clear()
    assert tokenizer.vocab == trained.vocab
    assert tokenizer.merges == trained.merges


def test_too_many_tokens_and_merges() -> None:
    tokens = [*BYTES.values(), *[None] * (1 << 21)]
    with pytest.raises(ValueError, match="vocab_size=2097408 must be at most 2097151"):
        Tokenizer._from_ids(tokens, None, {})
    assert Tokenizer._from_ids(tokens[:MAX_TOKENS], None, {}).encode("a") == [97]
    many = range(1 << 22)
    with pytest.raises(ValueError, match="merges has 4194304 pairs, which must be at most 4194302"):
        Tokenizer._from_ids(tokens[:256], (many, many, many), {})


def test_repr() -> None:
    assert repr(Tokenizer.byte_level(["<|x|>"])) == (
        "Tokenizer(vocab_size=257, merges=0, special_tokens=['<|x|>'], pattern='gpt2')"
    )


def test_offsets(trained: Tokenizer, corpus: list[str]) -> None:
    for text in [*corpus, "été <|end|>🙂 中文"]:
        ids = trained.encode(text)
        data = text.encode()
        for token_id, (start, end) in zip(ids, trained.offsets(ids, "bytes"), strict=True):
            assert data[start:end] == trained.vocab[token_id]
        for token_id, (start, end) in zip(ids, trained.offsets(ids), strict=True):
            assert trained.vocab[token_id] in text[start:end].encode()
            # No more than the characters that the token has a part of.
            assert len(text[start + 1 : end - 1].encode()) < len(trained.vocab[token_id])
    assert trained.offsets([]) == []
    unit: Any = "words"
    with pytest.raises(ValueError, match='unit=\'words\' must be "chars" or "bytes"'):
        trained.offsets([97], unit)
    with pytest.raises(ValueError, match="token id 5000 is not in the vocab"):
        trained.offsets([5000])


@pytest.mark.parametrize("token_id", [257, -1, 10**30])
def test_ids_outside_the_vocab(token_id: int) -> None:
    tokenizer = Tokenizer.byte_level(["<|x|>"])
    message = f"token id {token_id} is not in the vocab, ids are 0 to 256"
    with pytest.raises(ValueError, match=message):
        tokenizer.decode([97, token_id])
    with pytest.raises(ValueError, match=message):
        tokenizer.decode_bytes([token_id])
    with pytest.raises(ValueError, match=message):
        tokenizer.decode_batch([[97], [token_id]])
    with pytest.raises(ValueError, match=message):
        list(tokenizer.decode_iterable([97, token_id]))


class Scalar:
    """An integer of no dimensions, as a tensor has them: equal ones differ in their hash."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_ids_of_other_integer_types() -> None:
    tokenizer = Tokenizer.byte_level()
    numpy = pytest.importorskip("numpy")
    for dtype in (numpy.uint8, numpy.uint16, numpy.int64):
        assert tokenizer.decode(numpy.array([104, 105], dtype)) == "hi"
        assert tokenizer.decode(list(numpy.array([104, 105], dtype))) == "hi"
    assert tokenizer.decode(array("H", [104, 105])) == "hi"
    assert tokenizer.decode(range(104, 106)) == "hi"
    assert tokenizer.decode_batch(numpy.array([[104, 105], [106, 107]])) == ["hi", "jk"]
    assert tokenizer.decode([True]) == "\x01"
    assert tokenizer.decode(map(Scalar, [104, 105])) == "hi"
    with pytest.raises(ValueError, match="token id 256 is not in the vocab"):
        tokenizer.decode([Scalar(256)])


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([104.0], "'float' object cannot be interpreted as an integer"),
        ([[104]], "'list' object cannot be interpreted as an integer"),
        ([None], "'NoneType' object cannot"),
        (["h"], "'str' object cannot"),
        (104, "'int' object is not iterable"),
        ("h", "'str' object cannot"),
    ],
)
def test_ids_that_are_no_integers(ids: Any, reason: str) -> None:
    message = f"ids must be integers in one flat iterable: {reason}.*; decode the rows of a batch"
    for decode in (Tokenizer.byte_level().decode, Tokenizer.byte_level().offsets):
        with pytest.raises(TypeError, match=message):
            decode(ids)


def test_arrays_that_are_not_flat() -> None:
    numpy = pytest.importorskip("numpy")
    for ids in (numpy.array([[104, 105]]), numpy.array([1.0]), numpy.array(104)):
        with pytest.raises(TypeError, match="ids must be integers in one flat iterable"):
            Tokenizer.byte_level().decode(ids)


@pytest.mark.parametrize("text", [None, 7, ["text"], bytearray(b"text")])
def test_text_of_another_type(trained: Tokenizer, text: Any) -> None:
    message = f"text must be str or bytes, not {type(text).__name__}"
    for encode in (trained.encode, trained.count, trained.encode_array):
        with pytest.raises(TypeError, match=message):
            encode(text)  # type: ignore[operator]
    with pytest.raises(TypeError, match=message):
        trained.encode_batch([text])


def test_lone_surrogates_are_refused(trained: Tokenizer) -> None:
    for encode in (trained.encode, trained.count, trained.encode_array):
        with pytest.raises(ValueError, match=r"text has a lone surrogate, U\+DC80, at index 15"):
            encode("<|end|> and été\udc80")  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"U\+DC80, at index 15"):
        trained.encode("<|end|> and été\udc80", disallowed_special=["<|end|>"])
    with pytest.raises(ValueError, match=r"U\+DC80, at index 9000"):
        list(trained.encode_iterable(["é<|end|>\n"] * 1000 + ["\udc80"]))
