"""The engine in C++ against the one in Python, on all that can be asked of them."""

import random
from typing import Any

import pytest
from bpe_tok import PATTERNS, _pure
from bpe_tok._pure.unicode_classes import RANGES
from hypothesis import given
from hypothesis import strategies as st

core: Any = pytest.importorskip("bpe_tok._core", reason="the engine in C++ is not built")

NAMES = list(PATTERNS)
# What the patterns tell apart, thick on the ground, and special tokens, whole and in part.
PIECES = [
    *" \t\n\r\v\f'\x1c\x85\xa0\u3000\u200b_-.!/", "  ", "\r\n", "\n\n", "'s", "'S", "'ll", "'LL",
    "'\u017f", "'re", "'Ve", "'d", "'t", "'m", "a", "é", "É", "ß", "\u017f", "Ω", "ǅ", "ʰ", "中",
    "ा", "\u0301", "1", "12", "1234", "٣", "Ⅷ", "²", "🙂", "\x00", "\ufeff", "\u212a", "the",
    " self", "HTML", "camelCase", "<|a|>", "<|b|>", "<|", "|>", "a" * 20, " " * 70, "é" * 40,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=40).map("".join)
STRAYS = [b"\xff", b"\x80", b"\xc2", b"\xe4\xb8", b"\xf0\x9f\x99", b"\xed\xa0\x80", b"\xc0\x80"]
DATA = st.binary(max_size=60) | st.lists(
    st.sampled_from([*(piece.encode() for piece in PIECES), *STRAYS]) | st.binary(max_size=3),
    max_size=40,
).map(b"".join)
SPECIALS = st.lists(
    st.sampled_from(
        ["<|a|>", "<|a|><|b|>", "|><|", "<|", "中", " ", "'s", "aa", "a", "é", "\n", "1"]
    ),
    unique=True,
    max_size=5,
)  # fmt: skip


@st.composite
def vocabularies(draw: st.DrawFn) -> tuple[Any, ...]:
    """The arguments of an Encoder but the pattern: a vocab and merges trained on a random text."""
    counter = _pure.PretokenCounter(draw(st.sampled_from(NAMES)), [])
    for text in draw(st.lists(TEXTS | DATA, max_size=4)):
        counter.add(text)
    pairs = counter.learner(1).learn(draw(st.integers(0, 150)))
    numbers = draw(st.permutations(range(256 + len(pairs)))) if draw(st.booleans()) else None
    values = [bytes([byte]) for byte in range(256)]
    for left, right in pairs:
        values.append(values[left] + values[right])
    ids = list(numbers or range(len(values)))
    tokens: list[bytes | None] = [b""] * len(values)
    for number, value in enumerate(values):
        tokens[ids[number]] = value
    if draw(st.booleans()):
        tokens += [None] * 3  # ids that are unused
    by_value = {value: token_id for token_id, value in enumerate(tokens) if value is not None}
    specials = []
    for special in draw(SPECIALS):
        value = special.encode()
        if value not in by_value:
            by_value[value] = len(tokens)
            tokens.append(value)
        specials.append((value, by_value[value]))
    merges = None
    if draw(st.booleans()):
        wholes = range(256, len(values))
        merges = ([ids[a] for a, _ in pairs], [ids[b] for _, b in pairs], [ids[n] for n in wholes])
    return tokens, merges, draw(st.booleans()), specials


def result(function: Any, *args: Any) -> Any:
    """What a call returns, or the error that it raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("pattern", NAMES)
@given(vocabularies(), st.lists(TEXTS | DATA, max_size=5), st.data())
def test_encoders_agree(
    pattern: str, vocabulary: tuple[Any, ...], texts: list[str | bytes], data: st.DataObject
) -> None:
    tokens, merges, ignore_merges, specials = vocabulary
    python, cpp = (
        engine.Encoder(tokens, merges, ignore_merges, pattern, specials) for engine in (_pure, core)
    )
    flags = st.lists(st.integers(0, 1), min_size=len(specials), max_size=len(specials)).map(bytes)
    for allowed in (None, data.draw(flags), data.draw(flags)):
        for text in texts:
            ids = python.encode(text, allowed)
            assert cpp.encode(text, allowed) == ids
            assert cpp.count(text, allowed) == python.count(text, allowed) == len(ids)
            for width in (2, 4):
                packed = python.encode_packed(text, allowed, width)
                assert cpp.encode_packed(text, allowed, width) == packed
                assert len(packed) == width * len(ids)
            assert cpp.find_special(text, allowed) == python.find_special(text, allowed)
            assert cpp.decode(ids) == python.decode(ids)
            assert cpp.decode(ids) == (text.encode() if isinstance(text, str) else text)
        assert cpp.encode_batch(texts, allowed) == python.encode_batch(texts, allowed)


@given(vocabularies(), st.lists(TEXTS | DATA.map(lambda d: d.decode("utf-8", "surrogateescape"))))
def test_pieces_agree(vocabulary: tuple[Any, ...], pieces: list[str]) -> None:
    tokens, merges, ignore_merges, specials = vocabulary
    python, cpp = (
        engine.Encoder(tokens, merges, ignore_merges, "gpt2", specials) for engine in (_pure, core)
    )
    pieces = [piece for piece in pieces if piece]
    assert cpp.encode_pieces(pieces) == python.encode_pieces(pieces)


@given(vocabularies(), st.integers(0, 12))
def test_long_pretokens_agree(vocabulary: tuple[Any, ...], doublings: int) -> None:
    tokens, merges, ignore_merges, specials = vocabulary
    letters = b"".join(t for t in tokens if t is not None and t.isalpha())[-50:] or b"ab"
    text = letters * (1 << doublings)
    python, cpp = (
        engine.Encoder(tokens, merges, ignore_merges, "gpt2", specials) for engine in (_pure, core)
    )
    assert cpp.encode(text, bytes(len(specials))) == python.encode(text, bytes(len(specials)))


@given(vocabularies(), st.lists(st.integers(-5, 800) | st.integers() | st.booleans(), max_size=9))
def test_decoding_agrees(vocabulary: tuple[Any, ...], ids: list[int]) -> None:
    tokens, merges, ignore_merges, specials = vocabulary
    python, cpp = (
        engine.Encoder(tokens, merges, ignore_merges, "gpt2", specials) for engine in (_pure, core)
    )
    assert result(cpp.decode, ids) == result(python.decode, ids)


@pytest.mark.parametrize("pattern", NAMES)
@given(
    st.lists(TEXTS | DATA, max_size=5), st.lists(TEXTS | DATA, max_size=2), SPECIALS,
    st.lists(st.text(min_size=1)), st.integers(1, 4), st.integers(0, 60),
)  # fmt: skip
def test_counters_and_learners_agree(
    pattern: str,
    texts: list[str | bytes],
    more: list[str | bytes],
    specials: list[str],
    pieces: list[str],
    min_frequency: int,
    num_merges: int,
) -> None:
    learned = []
    counted = []
    for engine in (_pure, core):
        counter, other = (
            engine.PretokenCounter(pattern, [token.encode() for token in specials])
            for _ in range(2)
        )
        for text in texts:
            counter.add(text)
        for text in more:
            other.add(text)
        other.add_pieces(pieces)
        counter.merge(other)
        assert other.counts() == {}
        counted.append(counter.counts())
        learner = counter.learner(min_frequency)
        assert counter.counts() == {}
        counter.add_pieces(["as new"])
        assert counter.counts() == {b"as new": 1}
        learned.append([learner.learn(num_merges), learner.learn(5), learner.learn(0)])
    assert counted[0] == counted[1]
    assert learned[0] == learned[1]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_every_character(pattern: str) -> None:
    codes = [*range(0xD800), *range(0xE000, 0x32400), *range(0xE0000, 0xE0200)]
    ends = {code for first, last, _ in RANGES for code in (first - 1, first, last, last + 1)}
    ends.update(range(0x3000))
    counts = []
    # Between letters, numbers and spaces, of both cases, and beside itself; but within the long
    # ranges of ideographs and the like between two characters only.
    text = "\n".join(
        f"a{c}B{c}{c} {c}1{c}'s" if ord(c) in ends else f"a{c}1" for c in map(chr, codes)
    )
    for engine in (_pure, core):
        counter = engine.PretokenCounter(pattern, [])
        counter.add(text)
        counts.append(counter.counts())
    assert counts[0] == counts[1]


def test_every_character_alone() -> None:
    # A character that stands alone is a pretoken whatever it is; so its class must show otherwise.
    characters = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    for pattern in ("gpt2", "o200k"):
        counts = []
        for engine in (_pure, core):
            counter = engine.PretokenCounter(pattern, [])
            counter.add(characters)
            counts.append(counter.counts())
        assert counts[0] == counts[1]


def test_random_bytes() -> None:
    generator = random.Random(0)
    tokens: list[bytes | None] = [bytes([byte]) for byte in range(256)]
    alphabets = [
        range(256), range(0x80, 0x100), [0x20, 0x61, 0xE4, 0xB8, 0xAD], [0xF0, 0x9F, 0x99, 0x82],
        [0x27, 0x73, 0xC5, 0xBF, 0x0A], [0x20, 0x0A, 0xC2, 0xA0, 0x85],
    ]  # fmt: skip
    for pattern in NAMES:
        counts = []
        texts = [bytes(generator.choices(list(a), k=50_000)) for a in alphabets]
        for engine in (_pure, core):
            counter = engine.PretokenCounter(pattern, [])
            for text in texts:
                counter.add(text)
            counts.append(counter.counts())
            encoder = engine.Encoder(tokens, ([], [], []), False, pattern, [])
            assert all(encoder.encode(text, None) == list(text) for text in texts)
        assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("encode", (1, None)),
        ("encode", (None, None)),
        ("encode", (bytearray(b"a"), None)),
        ("encode", ("a\ud800b", None)),
        ("encode", ("é" * 1000 + "\udc80", None)),
        ("encode_packed", ("\udfff", None, 2)),
        ("encode_packed", (1, None, 2)),
        ("encode_batch", (["a", "\udfff"], None)),
        ("encode_batch", (["a", 1], None)),
        ("count", ("\ud800", None)),
        ("count", (1.0, None)),
        ("find_special", ("\ud800", None)),
        ("find_special", ([], None)),
        ("decode", ([97, 300],)),
        ("decode", ([-1],)),
        ("decode", ([1 << 70],)),
        ("decode", ([-(1 << 70)],)),
        ("decode", ([True, False],)),
        ("decode", ([1.0],)),
        ("decode", ([None],)),
        ("decode", (["a"],)),
        ("decode", ([[97]],)),
    ],
)
def test_errors_agree(method: str, args: tuple[Any, ...]) -> None:
    tokens = [bytes([byte]) for byte in range(256)]
    python, cpp = (
        engine.Encoder([*tokens, None], ([], [], []), False, "gpt2", [(b"a", 97)])
        for engine in (_pure, core)
    )
    assert result(getattr(cpp, method), *args) == result(getattr(python, method), *args)


@pytest.mark.parametrize("text", ["a\ud800b", 1, None])
def test_errors_of_counters_agree(text: Any) -> None:
    python, cpp = (engine.PretokenCounter("gpt2", []) for engine in (_pure, core))
    assert result(cpp.add, text) == result(python.add, text)
