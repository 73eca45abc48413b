import unicodedata
from typing import Any

import pytest
import regex
from bpe_tok import PATTERNS, Tokenizer, train
from bpe_tok.custom_pattern import RegexSplitter
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
# The same pieces as those of the names, by a spelling that is not known.
CUSTOM = {name: f"(?:{pattern})" for name, pattern in PATTERNS.items()}
TEXTS = st.lists(
    st.sampled_from(
        ["the", " the", "a", "  ", "\n", "\r\n", "é", "中", "12345", "'s", "<|e|>", "!"]
    )
    # Assigned long ago, for the Unicode table of `regex` is not of our version.
    | st.characters(exclude_categories=["Cs"]).filter(
        lambda character: unicodedata.ucd_3_2_0.category(character) != "Cn"
    ),
    max_size=30,
).map("".join)


@given(st.text("aeb \n", max_size=30))
def test_what_is_left_out_is_a_piece(text: str) -> None:
    pieces = RegexSplitter("[ae]+|(?=b)|( )").split(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert [piece for piece in pieces if regex.fullmatch("[ae]+| ", piece)] == [
        match[0] for match in regex.finditer("[ae]+| ", text)
    ]


def test_isolated_as_hugging_face_has_it() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    text = "A text, with 12 things:  left out."
    for pattern in [r"\w+", r"[0-9]", r" \w", "^|t"]:
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        assert RegexSplitter(pattern).split(text) == [p for p, _ in split.pre_tokenize_str(text)]


@pytest.mark.parametrize("name", list(PATTERNS))
@settings(max_examples=15)
@given(texts=st.lists(TEXTS, max_size=4), text=TEXTS, pieces=st.lists(TEXTS, max_size=4))
def test_a_pattern_by_regex_is_the_pattern_by_name(
    name: str, texts: list[str], text: str, pieces: list[str]
) -> None:
    by_name = train(texts, 280, ["<|e|>"], pattern=name)
    by_regex = train(texts, 280, ["<|e|>"], pattern=CUSTOM[name])
    assert by_regex.merges == by_name.merges
    assert by_regex.pattern == CUSTOM[name]
    for allowed in ("all", ()):
        ids = by_name.encode(text, allowed_special=allowed)
        assert by_regex.encode(text, allowed_special=allowed) == ids
        assert by_regex.count(text, allowed_special=allowed) == len(ids)
    assert by_regex.encode_batch(texts) == by_name.encode_batch(texts)
    assert by_regex.encode_array(text).tolist() == by_name.encode(text)
    assert list(by_regex.encode_iterable(pieces)) == by_name.encode("".join(pieces))
    assert by_regex.encode(text.encode() + b"\xff") == by_name.encode(text.encode() + b"\xff")
    assert by_regex.decode(by_regex.encode(text)) == text


@given(st.text() | st.binary(), st.sampled_from([r"\w+", r"\s", "[a-m]+", r"\b"]))
def test_any_pattern_round_trips(text: str | bytes, pattern: str) -> None:
    tokenizer = Tokenizer({n: bytes([n]) for n in range(256)}, [], pattern=pattern)
    data = text.encode() if isinstance(text, str) else text
    assert tokenizer.decode_bytes(tokenizer.encode(text)) == data


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", r"pattern='\(' is neither the name of a pattern nor a regular expression: missing"),
        ("(?r)a+", "must search forwards"),
        ("gpt-2", "pattern='gpt-2' must be gpt2, cl100k, .* or a regular expression"),
    ],
)
def test_bad_patterns(pattern: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer({n: bytes([n]) for n in range(256)}, [], pattern=pattern)
    with pytest.raises(ValueError, match=message):
        train(["text"], 300, pattern=pattern)
