import base64
import sys
from pathlib import Path

import pytest
from bpe_tok import Tokenizer, train
from hypothesis import given
from hypothesis import strategies as st

tiktoken = pytest.importorskip("tiktoken")
from tiktoken.load import load_tiktoken_bpe  # noqa: E402

BYTES = [bytes([byte]) for byte in range(256)]
TEXTS = ["hi there<|x|> 123456  \n\n it's", "日本語 naïve ß\u00a0", "ababcab  ", "\r\n\t x  "]


@pytest.fixture(scope="module")
def trained(corpus: list[str], engine: str) -> Tokenizer:
    # No special token is the start of another one, for tiktoken cannot have such.
    return train(corpus, 1000, ["<|endoftext|>", "<|end|>", "<|pad 0|>", "été"])


@pytest.fixture(scope="module")
def gpt2(shared_data: Path) -> Tokenizer:
    files = shared_data / "gpt2_vocab.json", shared_data / "gpt2_merges.txt"
    return Tokenizer.from_files(*files, ["<|endoftext|>"])


@pytest.fixture
def saved(trained: Tokenizer, tmp_path: Path) -> Path:
    path = tmp_path / "some.tiktoken"
    trained.save_tiktoken(path)
    return path


def test_tiktokens_own_loader_reads_the_file(trained: Tokenizer, saved: Path) -> None:
    ranks = load_tiktoken_bpe(str(saved))
    special_ids = set(trained.special_tokens.values())
    assert ranks == {t: n for n, t in trained.vocab.items() if n not in special_ids}


def test_a_file_comes_back(trained: Tokenizer, saved: Path, corpus: list[str]) -> None:
    loaded = Tokenizer.from_tiktoken(saved, "gpt2", trained.special_tokens)
    assert (loaded.vocab, loaded.special_tokens) == (trained.vocab, trained.special_tokens)
    assert loaded.merges is None
    for text in corpus:
        assert loaded.encode(text) == trained.encode(text)
    again = saved.with_name("again.tiktoken")
    loaded.save_tiktoken(again)
    assert again.read_bytes() == saved.read_bytes()


def test_an_encoding_gives_the_same_ids(trained: Tokenizer, corpus: list[str]) -> None:
    encoding = trained.to_tiktoken("mine")
    assert encoding.name == "mine"
    for text in corpus:
        assert encoding.encode(text, allowed_special="all") == trained.encode(text)
    back = Tokenizer.from_tiktoken(encoding)
    assert (back.vocab, back.special_tokens) == (trained.vocab, trained.special_tokens)
    assert (back.pattern, back.merges) == ("gpt2", None)


def test_gpt2_goes_there_and_back(gpt2: Tokenizer, shared_data: Path, tmp_path: Path) -> None:
    encoding = gpt2.to_tiktoken("gpt2")
    back = Tokenizer.from_tiktoken(encoding)
    text = (shared_data / "wikitext2_valid.txt").read_text(encoding="utf-8")[:200_000]
    assert back.encode(text) == encoding.encode(text) == gpt2.encode(text)
    # The merges that the rule stands for are GPT-2's own.
    back.save_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
    lines = (tmp_path / "merges.txt").read_bytes().partition(b"\n")[2]
    assert lines == (shared_data / "gpt2_merges.txt").read_bytes()


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "llama3", "qwen2"])
def test_published_patterns_come_back(trained: Tokenizer, pattern: str) -> None:
    specials = [*trained.special_tokens, "<|x|>"]
    tokenizer = Tokenizer(trained.vocab, trained.merges, specials, pattern=pattern)
    encoding = tokenizer.to_tiktoken()
    assert Tokenizer.from_tiktoken(encoding).pattern == pattern
    for text in TEXTS:
        assert encoding.encode(text, allowed_special="all") == tokenizer.encode(text)


@given(text=st.text(alphabet=" ab1'\n\té日.s", max_size=30))
def test_a_pattern_that_leaves_text_out(text: str) -> None:
    vocab = dict(enumerate([*BYTES, b"ab", b"  ", b"11", b"a1"]))
    merges = [(b"a", b"b"), (b" ", b" "), (b"1", b"1"), (b"a", b"1")]
    tokenizer = Tokenizer(vocab, merges, pattern=r"a\w|1+|\n(?=b)")
    encoding = tokenizer.to_tiktoken()
    ids = tokenizer.encode(text)
    assert encoding.encode(text) == ids
    assert tokenizer.decode(ids) == text
    assert Tokenizer.from_tiktoken(encoding).pattern == tokenizer.pattern


def test_ids_with_gaps() -> None:
    # The special tokens of cl100k_base have such ids.
    ranks = {token: token_id for token_id, token in enumerate([*BYTES, b"ab"])}
    specials = {"<|a|>": 300, "<|b|>": 301, "<|c|>": 320}
    encoding = tiktoken.Encoding(
        "gaps", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens=specials
    )
    tokenizer = Tokenizer.from_tiktoken(encoding)
    text = "abc<|c|>.<|a|>"
    ids = encoding.encode(text, allowed_special="all")
    assert tokenizer.encode(text) == ids == [256, 99, 320, 46, 300]
    assert tokenizer.decode(ids) == text
    assert (tokenizer.vocab_size, tokenizer.special_tokens) == (321, specials)


def test_special_tokens_by_name(saved: Path) -> None:
    tokenizer = Tokenizer.from_tiktoken(saved, "gpt2", ["<|x|>", "<|y|>", "a"])
    assert tokenizer.special_tokens == {"a": 97, "<|x|>": 1000, "<|y|>": 1001}


def test_a_special_token_that_is_an_ordinary_one_too() -> None:
    vocab = dict(enumerate([*BYTES, b" t", b"he", b" the"]))
    merges = [(b" ", b"t"), (b"h", b"e"), (b" t", b"he")]
    tokenizer = Tokenizer(vocab, merges, [" t", "\n", "<|x|>"])
    encoding = tokenizer.to_tiktoken()
    back = Tokenizer.from_tiktoken(encoding)
    for text in ("a the t\nthe<|x|>", " th\n\n the t"):
        for allowed in ("all", ()):
            expected = encoding.encode(
                text, allowed_special=allowed if allowed == "all" else set(), disallowed_special=()
            )
            assert tokenizer.encode(text, allowed_special=allowed) == expected
            assert back.encode(text, allowed_special=allowed) == expected


def test_what_the_rule_cannot_say(tmp_path: Path) -> None:
    vocab = dict(enumerate([*BYTES, b"ab", b"bc", b"abc"]))
    unordered = Tokenizer(vocab, [(b"b", b"c"), (b"a", b"b"), (b"a", b"bc")])
    with pytest.raises(ValueError, match=r"merges\[1\] makes id 256 and comes after .* id 257"):
        unordered.to_tiktoken()
    unmade = Tokenizer(vocab, [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")])
    message = r"leave the token b'abc', id 258, as \[b'ab', b'c'\]; tokenizer.json holds it"
    with pytest.raises(ValueError, match=message):
        unmade.save_tiktoken(tmp_path / "x.tiktoken")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"!!!! 5", "line 300: b'!!!! 5' must be a token in base64"),
        (b"YWI=", "line 300: b'YWI=' must be a token in base64"),
        (b"YWI= 300 1", "line 300: .* must be a token in base64"),
        (b"YWI= x", "line 300: .* must be a token in base64"),
        (b"YWI 5", "line 300: .* must be a token in base64"),
        (b"YQ== 5000", "line 300: b'a' comes twice, as 97 and 5000"),
        (b"cXF4cQ== 97", "id 97 is both b'a' and b'qqxq'"),
        (b"cXF4cQ== -7", "has id -7"),
        (b"cXF4cQ== 9999999", "has id 9999999 but only"),
        (b" 5", "line 300: .* must be a token in base64"),
        (b"\xff\xfe", "line 300: .* must be a token in base64"),
    ],
)
def test_damaged_files(saved: Path, line: bytes, message: str) -> None:
    lines = saved.read_bytes().split(b"\n")
    lines[299] = line
    saved.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=rf"some\.tiktoken.*{message}"):
        Tokenizer.from_tiktoken(saved, "gpt2")


def test_truncated_files(saved: Path) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[:1000])
    with pytest.raises(ValueError, match=r"some\.tiktoken.*(lacks .* single bytes|line \d+)"):
        Tokenizer.from_tiktoken(saved, "gpt2")
    saved.write_bytes(b"")
    with pytest.raises(ValueError, match=r"some\.tiktoken lacks 256 of the 256 single bytes"):
        Tokenizer.from_tiktoken(saved, "gpt2")


def test_line_ends_and_empty_lines(trained: Tokenizer, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes().replace(b"\n", b"\r\n\r\n"))
    tokenizer = Tokenizer.from_tiktoken(saved, "gpt2", trained.special_tokens)
    assert tokenizer.vocab == trained.vocab


def test_the_pattern_must_be_given(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"some\.tiktoken: .* give a pattern, one of gpt2, cl100k"):
        Tokenizer.from_tiktoken(saved)


@pytest.mark.parametrize(
    ("specials", "message"),
    [
        ({"<|x|>": 5}, r"'<\|x\|>' must not have id 5: b'\\x05' has id 5"),
        ({"a": 2000}, "special token 'a' must not have id 2000: b'a' has id 97"),
        ({"<|x|>": 2000, "<|y|>": 2000}, "have one id"),
        ({"<|x|>": -1}, "has id -1"),
        ({"<|x|>": 10**9}, "has id 1000000000 but only"),
        (["é"], "must not be the spelling of"),
    ],
)
def test_special_tokens_that_do_not_fit(
    saved: Path, specials: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_tiktoken(saved, "gpt2", specials)


def test_what_is_no_source() -> None:
    with pytest.raises(TypeError, match=r"source=7 must be the path of a \.tiktoken file or a"):
        Tokenizer.from_tiktoken(7)  # type: ignore[arg-type]


def test_without_tiktoken(trained: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(ImportError, match="to_tiktoken needs tiktoken: pip install tiktoken"):
        trained.to_tiktoken()


def test_openais_own_files_say_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The files are not here; what is known of them is what tiktoken says.
    from bpe_tok.formats.tiktoken import _PUBLISHED
    from bpe_tok.pretokenize import pattern_name
    from tiktoken_ext import openai_public

    hashes: list[str] = []

    def no_download(url: str, expected_hash: str) -> dict[bytes, int]:
        hashes.append(expected_hash)
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", no_download)
    for name in ("r50k_base", "p50k_base", "cl100k_base", "o200k_base"):
        encoding = getattr(openai_public, name)()
        known = pattern_name(encoding["pat_str"]), encoding["special_tokens"]
        assert _PUBLISHED[hashes[-1]] == known
    assert len(_PUBLISHED) == 4


def test_files_as_tiktoken_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "x.tiktoken"
    lines = [base64.b64encode(token) + b" %d" % n for n, token in enumerate([*BYTES, b"ab"])]
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert Tokenizer.from_tiktoken(path, r"\w+").encode("abab b") == [256, 256, 32, 98]


def test_special_tokens_that_start_others_are_refused() -> None:
    tokenizer = Tokenizer({n: bytes([n]) for n in range(256)}, [], ["<|a|>", "<|b|>", "<|a|>x"])
    with pytest.raises(ValueError, match=r"'<\|a\|>' is the start of '<\|a\|>x'"):
        tokenizer.to_tiktoken()
