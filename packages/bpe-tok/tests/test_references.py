"""Our ids against those of tiktoken and Hugging Face's libraries."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import PATTERNS, Tokenizer, train
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("engine")
# What the patterns and the special tokens tell apart, thick on the ground; and any character that
# was assigned long ago, for the references' Unicode tables may be older than ours.
PIECES = st.sampled_from(
    [*" \t\n\r\v\f'\x1c\x85\xa0\u3000\u200b_-.!/", "  ", "\r\n", "'s", "'S", "'ll", "'\u017f", "a",
     "A", "é", "É", "ß", "\u017f", "Ω", "ǅ", "中", "ा", "\u0301", "1", "1234", "٣", "Ⅷ", "²",
     "🙂", "👩\u200d👧", "\x00", "\ufeff", "the", " self", "HTML", "return", "<|endoftext|>",
     "<|end|>", "<|end", "<|pad 0|>", "<|pad", "été"]
)  # fmt: skip
OLD_CHARACTERS = st.characters(exclude_categories=["Cs"]).filter(
    lambda character: unicodedata.ucd_3_2_0.category(character) != "Cn"
)
TEXTS = st.lists(PIECES | OLD_CHARACTERS, max_size=40).map("".join)


def tiktoken_like(tokenizer: Tokenizer, pattern: str = "gpt2") -> Any:
    tiktoken = pytest.importorskip("tiktoken")
    special_ids = set(tokenizer.special_tokens.values())
    return tiktoken.Encoding(
        "same",
        pat_str=PATTERNS[pattern],
        mergeable_ranks={v: n for n, v in tokenizer.vocab.items() if n not in special_ids},
        special_tokens=tokenizer.special_tokens,
    )


@pytest.fixture(scope="module")
def gpt2(engine: str, shared_data: Path) -> Tokenizer:
    return Tokenizer.from_files(
        shared_data / "gpt2_vocab.json", shared_data / "gpt2_merges.txt", ["<|endoftext|>"]
    )


@pytest.fixture(scope="module")
def gpt2_tiktoken(gpt2: Tokenizer) -> Any:
    return tiktoken_like(gpt2)


@pytest.fixture(scope="module")
def gpt2_hugging_face(gpt2: Tokenizer, shared_data: Path) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    files = str(shared_data / "gpt2_vocab.json"), str(shared_data / "gpt2_merges.txt")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*files))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.add_special_tokens(["<|endoftext|>"])
    return theirs


@pytest.fixture(scope="module")
def same_hugging_face(trained: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    tokenizers = pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("trained")
    trained.save(folder)
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_gpt2_ids_of_real_text(
    gpt2: Tokenizer, gpt2_tiktoken: Any, gpt2_hugging_face: Any, shared_data: Path
) -> None:
    for path in [*shared_data.glob("*.txt"), shared_data / "corpus.en"]:
        text = path.read_text(encoding="utf-8")
        ids = gpt2.encode(text)
        assert ids == gpt2_tiktoken.encode(text, allowed_special="all"), path.name
        assert gpt2_hugging_face.encode(text[:200_000]).ids == gpt2.encode(text[:200_000])
        assert gpt2.decode(ids) == text


@given(TEXTS)
def test_gpt2_ids_of_any_text(
    gpt2: Tokenizer, gpt2_tiktoken: Any, gpt2_hugging_face: Any, text: str
) -> None:
    ids = gpt2.encode(text)
    assert ids == gpt2_tiktoken.encode(text, allowed_special="all")
    assert ids == gpt2_hugging_face.encode(text).ids


def test_gpt2_ids_of_every_character(gpt2: Tokenizer, gpt2_tiktoken: Any) -> None:
    codes = [*range(0xD800), *range(0xE000, 0x20000)]
    known = [c for c in map(chr, codes) if unicodedata.ucd_3_2_0.category(c) != "Cn"]
    text = "".join(f"a{character} 1" for character in known)
    assert gpt2.encode(text) == gpt2_tiktoken.encode(text)


def test_gpt2_ids_of_long_pretokens(gpt2: Tokenizer, gpt2_tiktoken: Any) -> None:
    for text in ["a" * 100_000, " " * 20_000 + "x", "abcdefgh" * 2000, "é🙂" * 500, "\n" * 9999]:
        assert gpt2.encode(text) == gpt2_tiktoken.encode(text)


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_ids_of_trained_tokenizers_are_tiktokens(pattern: str, corpus: list[str]) -> None:
    # tiktoken does not promise that the longest special token wins, so it gets none that overlap.
    specials = ["<|endoftext|>", "<|pad 0|>"]
    by_merges = train(corpus, 1000, specials, pattern=pattern)
    by_rule = Tokenizer(by_merges.vocab, None, specials, pattern=pattern)
    theirs = tiktoken_like(by_merges, pattern)
    for text in corpus:
        ids = theirs.encode(text, allowed_special="all")
        assert by_merges.encode(text) == by_rule.encode(text) == ids

    @given(TEXTS)
    def check(text: str) -> None:
        ids = theirs.encode(text, allowed_special="all")
        assert by_merges.encode(text) == by_rule.encode(text) == ids
        ids = theirs.encode(text, allowed_special=set(), disallowed_special=())
        assert by_merges.encode(text, allowed_special=()) == ids
        assert by_rule.encode(text, allowed_special=()) == ids

    check()


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
@given(st.data())
def test_tiktokens_rule_on_any_vocab(pattern: str, data: st.DataObject) -> None:
    # Also tokens that no merges make, and in any order.
    words = st.text("ab ", min_size=2, max_size=6).map(str.encode)
    tokens = [bytes([byte]) for byte in range(256)] + data.draw(st.lists(words, unique=True))
    ours = Tokenizer(dict(enumerate(tokens)), None, pattern=pattern)
    theirs = tiktoken_like(ours, pattern)
    for text in data.draw(st.lists(st.text("ab ", max_size=30))):
        assert ours.encode(text) == theirs.encode(text)


@given(TEXTS)
def test_trained_ids_are_hugging_faces(
    trained: Tokenizer, same_hugging_face: Any, text: str
) -> None:
    assert trained.encode(text) == same_hugging_face.encode(text).ids


@given(st.lists(st.text("abc ", min_size=2, max_size=5), max_size=12), st.text("abc ", max_size=40))
def test_ignored_merges_are_hugging_faces(words: list[str], text: str) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    trained = train(words, 290)
    tokens = {**trained.vocab}
    # A token that no merges make is only ever found whole.
    for word in sorted({word.encode() for word in words} - {*tokens.values()}):
        tokens[len(tokens)] = word
    ours = Tokenizer(tokens, trained.merges, ignore_merges=True)
    spelled = {value.decode("latin-1").replace(" ", "Ġ"): n for n, value in tokens.items()}
    model = tokenizers.models.BPE(
        {token: n for token, n in spelled.items() if token.isascii() or "Ġ" in token},
        [
            tuple(part.decode().replace(" ", "Ġ") for part in merge)
            for merge in trained.merges or []
        ],
        ignore_merges=True,
    )
    theirs = tokenizers.Tokenizer(model)
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    assert ours.encode(text) == theirs.encode(text).ids


def test_hugging_face_decodes_our_ids(
    trained: Tokenizer, same_hugging_face: Any, corpus: list[str]
) -> None:
    # Its decoder takes the é of a special token for a byte, so that one comes back wrong.
    for text in [*corpus, "one<|pad 0|>two"]:
        ids = trained.encode(text)
        assert ids == same_hugging_face.encode(text).ids
        assert same_hugging_face.decode(ids, skip_special_tokens=False) == text


def test_hugging_faces_offsets(
    trained: Tokenizer, same_hugging_face: Any, corpus: list[str]
) -> None:
    for text in [*corpus, "été <|end|>🙂 中文"]:
        encoding = same_hugging_face.encode(text)
        ours = trained.offsets(trained.encode(text))
        # It leaves out the space that a token starts with.
        assert [end for _, end in ours] == [end for _, end in encoding.offsets]
        for (start, end), (theirs, _) in zip(ours, encoding.offsets, strict=True):
            assert start == theirs or text[start:theirs].isspace() or text[start:end].isspace()


def test_transformers_gives_the_same_ids(trained: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    trained.save(tmp_path)
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    text = "def f(self):\n    return 'été'<|end|><|end|>  \n"
    assert theirs(text)["input_ids"] == trained.encode(text)


@pytest.mark.parametrize(
    ("allowed", "disallowed", "raises"),
    [
        ("all", (), False), ("all", "all", False), (set(), (), False), (set(), "all", True),
        ({"<|pad 0|>"}, "all", True), ({"<|pad 0|>"}, (), False), ({"<|endoftext|>"}, "all", True),
        ({"<|endoftext|>", "<|pad 0|>"}, "all", False), (set(), {"<|pad 0|>"}, True),
        ("all", {"<|pad 0|>"}, True), ("all", {"<|end"}, None),
    ],
)  # fmt: skip
def test_allowed_and_disallowed_are_tiktokens(
    trained: Tokenizer, allowed: Any, disallowed: Any, raises: bool | None
) -> None:
    tokenizer = Tokenizer(trained.vocab, trained.merges, ["<|endoftext|>", "<|pad 0|>"])
    theirs = tiktoken_like(tokenizer)
    text = "One<|endoftext|>two <|pad 0|> three"
    options = {"allowed_special": allowed, "disallowed_special": disallowed}
    if raises is None:  # tiktoken takes any name; we take no unknown ones
        with pytest.raises(ValueError, match="is not a special token"):
            tokenizer.encode(text, **options)
    elif raises:
        with pytest.raises(ValueError, match="disallowed"):
            theirs.encode(text, **options)
        with pytest.raises(ValueError, match="which disallowed_special refuses"):
            tokenizer.encode(text, **options)
    else:
        assert tokenizer.encode(text, **options) == theirs.encode(text, **options)
