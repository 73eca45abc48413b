from functools import cache
from itertools import pairwise

import pytest
import regex
from bpe_tok import PATTERNS
from bpe_tok._pure.character_classes import classes_of
from bpe_tok._pure.pretokenizer import Pretokenizer
from bpe_tok._pure.unicode_classes import RANGES
from bpe_tok.pretokenize import check_pattern, named_pretokenizer, pattern_name, pretokenize
from bpe_tok.spelling import spell
from hypothesis import example, given
from hypothesis import strategies as st

NAMES = list(PATTERNS)
# What the patterns tell apart, thick on the ground; the last ones are characters that all versions
# of Unicode in use agree on.
PIECES = [
    *" \t\n\v\r'_.-/aZ9", "   ", "\r\n", "\n\n", "'s", "'S", "'\u017f", "'ll", "'Re", "'VE", "'d",
    "12345", "\xa0", "\u3000", "é", "É", "\u017f", "ǅ", "ʰ", "²", "Ⅷ", "٣", "中", "ा", "\u0301",
    "🙂", "\u200b", "\x1c", "\x85", "\u212a",
]  # fmt: skip
WILD = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
CONTRACTIONS = " ".join(
    f"{before}'{letters}{after}"
    for letters in ["s", "d", "m", "t", "ll", "ve", "re", "l", "v", "r", "S", "LL", "n", "\u017f"]
    for before in ["a", "", "é", "1", "'", "!", "\u0301"]
    for after in ["", "x", "é", "1", "'"]
)


def reference(pattern: str, text: str) -> list[str]:
    return regex.findall(PATTERNS[pattern], text)


@pytest.mark.parametrize("pattern", NAMES)
@given(WILD)
@example(CONTRACTIONS)
@example(CONTRACTIONS.encode("ascii", "ignore").decode())
def test_pieces_are_those_of_the_pattern(pattern: str, text: str) -> None:
    assert pretokenize(text, pattern) == reference(pattern, text)


@given(WILD)
@example(CONTRACTIONS)
def test_pieces_are_hugging_faces(text: str) -> None:
    pre_tokenizers = pytest.importorskip("tokenizers.pre_tokenizers")
    theirs = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(text)
    assert [spell(piece.encode()) for piece in pretokenize(text)] == [piece for piece, _ in theirs]


@pytest.mark.parametrize("pattern", NAMES)
def test_every_ascii_character_beside_every_other(pattern: str) -> None:
    characters = [chr(code) for code in range(128)]
    for first in characters:
        for second in characters:
            text = f"{first}{second}{first}"
            assert pretokenize(text, pattern) == reference(pattern, text)


def classes_by_regex(characters: str) -> str:
    """The stand-ins of `classes_of`, by the `regex` package."""
    for char_class, stand_in in [
        (r"\s", "\x83"), (r"\p{N}", "\x82"), (r"\p{M}", "\x81"), (r"[\p{Lm}\p{Lo}]", "\x84"),
        (r"[\p{Lu}\p{Lt}]", "\x85"), ("\u017f", "\x87"), (r"\p{Ll}", "\x86"),
        (r"[^\x00-\x87]", "\x80"),
    ]:  # fmt: skip
        characters = regex.sub(rf"(?=[^\x00-\x87]){char_class}", stand_in, characters)
    return characters


@cache
def unlike_regex() -> set[str]:
    """The characters that our Unicode table and that of the `regex` package take differently."""
    characters = "".join(map(chr, [*range(0x88, 0xD800), *range(0xE000, 0x110000)]))
    pairs = zip(characters, classes_of(characters), classes_by_regex(characters), strict=True)
    return {character for character, ours, theirs in pairs if ours != theirs}


def test_the_classes_are_unicodes() -> None:
    ours = {chr(code) for first, last, _ in RANGES for code in range(first, last + 1)}
    unassigned = regex.compile(r"\p{Cn}")
    # Either version of Unicode may be the newer one, but what both have is of one class in both.
    # One letter lost its case: U+0295 is Ll in Unicode 16, Lo in 17.
    different = unlike_regex() - {"\u0295"}
    assert all(c not in ours or unassigned.match(c) for c in different)
    assert classes_of("\x80\x85\x86\x87") == "\x80\x83\x80\x80"
    assert classes_of("a \u017f\u212a²\udc80\U0010ffff") == "a \x87\x85\x82\x80\x80"


@pytest.mark.parametrize("pattern", NAMES)
def test_every_character_between_others(pattern: str) -> None:
    unlike = unlike_regex()
    # The classes of all have been compared, so those beside another class are enough.
    ends = {code for first, last, _ in RANGES for code in (first - 1, first, last, last + 1)}
    known = [c for c in map(chr, sorted({*range(0x250), *ends, 0x10FFFF})) if c not in unlike]
    text = "".join(f"a{c}b {c}{c} 1{c}2A{c}'s\n" for c in known)
    assert pretokenize(text, pattern) == reference(pattern, text)


@pytest.mark.parametrize("pattern", NAMES)
@given(WILD, WILD)
@example("it's ", "'s")
def test_safe_places(pattern: str, before: str, after: str) -> None:
    pretokenizer = named_pretokenizer(pattern)
    text = before + after
    cut = pretokenizer.last_cut(text)
    for rest in ("", "'s", "\n", " ", "a", "\u0301"):
        parts = [text[:cut], text[cut:] + rest]
        assert [p for part in parts for p in pretokenizer.split(part)] == reference(
            pattern, text + rest
        )
    if cut:
        assert pretokenizer.last_cut(text[:cut]) < cut


@pytest.mark.parametrize("pattern", NAMES)
@given(WILD, st.integers(1, 9))
def test_blocks_have_the_pretokens_of_the_text(pattern: str, text: str, block_chars: int) -> None:
    pretokenizer = named_pretokenizer(pattern)
    blocks = list(pretokenizer.split_blocks(text, block_chars))
    assert [piece for block in blocks for piece in block] == reference(pattern, text)


def test_blocks_are_as_long_as_they_need_be() -> None:
    pretokenizer = Pretokenizer("gpt2")
    for text in ["word " * 1000, "1,2,3," * 1000, "日本。" * 1000, "x\n\n\n" * 1000]:
        blocks = list(pretokenizer.split_blocks(text, 50))
        assert max(sum(map(len, block)) for block in blocks) < 60
    for text in ["a" * 100_000, " " * 100_000, "🙂" * 100_000]:
        assert list(pretokenizer.split_blocks(text, 50)) == [[text]]


def test_the_places_of_a_text_that_comes_in_two() -> None:
    for pattern in NAMES:
        pretokenizer = named_pretokenizer(pattern)
        text = "one two\n\nthree"
        assert [pretokenizer.last_cut(text[:end]) for end in range(6)] == [0, 0, 0, 0, 3, 3]
        assert all(a <= b for a, b in pairwise(pretokenizer.last_cut(text[:n]) for n in range(14)))


@pytest.mark.parametrize("name", ["gpt2", "cl100k", "o200k"])
def test_tiktokens_patterns_are_known(name: str) -> None:
    openai_public = pytest.importorskip("tiktoken_ext.openai_public")
    if name == "gpt2":
        spelled = openai_public.r50k_pat_str
    else:
        # The constructor asks the network for the vocab, but not for the pattern.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(openai_public, "load_tiktoken_bpe", lambda *args, **kwargs: {})
            spelled = openai_public.ENCODING_CONSTRUCTORS[f"{name}_base"]()["pat_str"]
    assert pattern_name(spelled) == name


def test_patterns_by_name_and_regex() -> None:
    for name, spelled in PATTERNS.items():
        assert pattern_name(name) == pattern_name(spelled) == name
    assert pattern_name(r"\w+|\W+") is None
    check_pattern(r"\w+|\W+")
    for wrong in ("gpt-2", "GPT2", "cl100k_base", ""):
        with pytest.raises(ValueError, match="must be gpt2, cl100k, o200k, llama3, qwen2, or a re"):
            check_pattern(wrong)


# Each takes quadratic time if a pattern looks at its characters again and again.
@pytest.mark.parametrize("pattern", NAMES)
@pytest.mark.parametrize(
    "unit", ["a", "A", " ", "\n", "1", "!", "\u0301", "中", "🙂", " \n", "A\u0301"]
)
def test_a_long_run_of_one_kind(pattern: str, unit: str) -> None:
    text = unit * 200_000
    assert "".join(pretokenize(text, pattern)) == text
    assert "".join(pretokenize(text + "x", pattern)) == text + "x"
