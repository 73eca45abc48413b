import json
from pathlib import Path

import pytest
from bpe_tok import Tokenizer
from bpe_tok.formats.gpt2 import infer_special_tokens
from bpe_tok.spelling import spell

BYTES = [bytes([byte]) for byte in range(256)]


@pytest.fixture
def files(trained: Tokenizer, tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    trained.save_gpt2(*paths)
    return paths


def write(folder: Path, tokens: list[bytes], merges: list[str]) -> tuple[Path, Path]:
    vocab, merges_path = folder / "vocab.json", folder / "merges.txt"
    ids = {spell(token): token_id for token_id, token in enumerate(tokens)}
    vocab.write_text(json.dumps(ids), encoding="utf-8")
    merges_path.write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return vocab, merges_path


def test_files_come_back(trained: Tokenizer, files: tuple[Path, Path]) -> None:
    loaded = Tokenizer.from_files(*files, list(trained.special_tokens))
    assert loaded.fingerprint == trained.fingerprint
    assert files[1].read_text(encoding="utf-8").startswith("#version: 0.2\n")


def test_gpt2s_own_files_come_back(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "gpt2_vocab.json", shared_data / "gpt2_merges.txt"
    gpt2 = Tokenizer.from_files(*files, ["<|endoftext|>"])
    assert gpt2.merges is not None
    assert (gpt2.vocab_size, len(gpt2.merges)) == (50257, 50000)
    assert gpt2.special_tokens == {"<|endoftext|>": 50256}
    gpt2.save_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
    written = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert written == json.loads(files[0].read_text(encoding="utf-8"))
    version, _, lines = (tmp_path / "merges.txt").read_bytes().partition(b"\n")
    assert (version, lines) == (b"#version: 0.2", files[1].read_bytes())


@pytest.mark.parametrize("version", ["", "#version: 0.2\n"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_merges_with_and_without_a_first_line(tmp_path: Path, version: str, end: str) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"##", b" ##"], [])
    merges.write_bytes(f"{version}# #\nĠ ##{end}".encode())
    assert Tokenizer.from_files(vocab, merges).merges == [(b"#", b"#"), (b" ", b"##")]


@pytest.mark.parametrize("content", [b"", b"\n", b"#version: 0.2", b"#version: 0.2\n"])
def test_no_merges(tmp_path: Path, content: bytes) -> None:
    vocab, merges = write(tmp_path, BYTES, [])
    merges.write_bytes(content)
    tokenizer = Tokenizer.from_files(vocab, merges)
    assert (tokenizer.merges, tokenizer.encode("ab")) == ([], [97, 98])


def test_a_vocab_in_any_order(tmp_path: Path) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab", b"abc"], ["a b", "ab c"])
    expected = Tokenizer.from_files(vocab, merges)
    ids = json.loads(vocab.read_text(encoding="utf-8"))
    vocab.write_text(json.dumps(dict(reversed(ids.items()))), encoding="utf-8")
    assert Tokenizer.from_files(vocab, merges).fingerprint == expected.fingerprint


def test_a_vocab_that_leaves_ids_out(tmp_path: Path) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab"], ["a b"])
    ids = json.loads(vocab.read_text(encoding="utf-8"))
    vocab.write_text(json.dumps({**ids, "ab": 300, "<|x|>": 310}), encoding="utf-8")
    tokenizer = Tokenizer.from_files(vocab, merges, ["<|x|>"])
    assert tokenizer.encode("abc<|x|>") == [300, 99, 310]
    assert (tokenizer.vocab_size, len(tokenizer.vocab)) == (311, 258)


def test_merges_of_the_same_whole_in_another_order(tmp_path: Path) -> None:
    tokens = [*BYTES, b"abc", b"bc", b"ab"]
    vocab, merges = write(tmp_path, tokens, ["a b", "b c", "ab c", "a bc"])
    assert Tokenizer.from_files(vocab, merges).encode("abcbc") == [256, 257]


def test_special_tokens_that_the_vocab_lacks(tmp_path: Path) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab"], ["a b"])
    tokenizer = Tokenizer.from_files(vocab, merges, ["<|x|>", "ab", "été"])
    assert tokenizer.special_tokens == {"ab": 256, "<|x|>": 257, "été": 258}


def test_special_tokens_are_found(files: tuple[Path, Path], trained: Tokenizer) -> None:
    assert set(infer_special_tokens(*files)) == set(trained.special_tokens)
    vocab = json.loads(files[0].read_text(encoding="utf-8"))
    files[0].write_text(json.dumps({**vocab, "日本": 1000}), encoding="utf-8")
    assert set(infer_special_tokens(*files)) == {*trained.special_tokens, "日本"}


def test_special_tokens_are_not_lost_merges(tmp_path: Path) -> None:
    files = write(tmp_path, [*BYTES, b"ab", b"abc", b"<|x|>"], ["a b"])
    assert infer_special_tokens(*files) == ["<|x|>"]
    with pytest.raises(ValueError, match=r"merges\.txt: no merge makes b'abc', id 257 in .*vocab"):
        Tokenizer.from_files(*files)


def test_a_forgotten_special_token(files: tuple[Path, Path]) -> None:
    message = (
        r"vocab\.json: 'été' is not .*|vocab\.json: '<\|pad 0\|>' is not .*; if it is a special "
        "token, name it in special_tokens"
    )
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(*files, ["<|endoftext|>", "été"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ab", "'ab' must be two tokens"),
        ("a b c", "'a b c' must be two tokens"),
        ("", "'' must be two tokens"),
        ("a ", "'a ' must be two tokens"),
        ("a  b", "'a  b' must be two tokens"),
        ("a 中", "'中' is not .* '中' stands for no byte"),
        ("Q zq", r"'Q zq': the (right part|result) b'Q?zq' is not in the vocab, .*vocab\.json"),
    ],
)
@pytest.mark.parametrize("number", [2, 5, 700])
def test_damaged_merges(files: tuple[Path, Path], number: int, line: str, message: str) -> None:
    lines = files[1].read_text(encoding="utf-8").split("\n")
    lines[number - 1 : number] = [line]
    files[1].write_text("\n".join(lines), encoding="utf-8")
    names = ["<|endoftext|>", "<|end|>", "<|end|><|end|>", "<|pad 0|>", "été"]
    with pytest.raises(ValueError, match=rf"merges\.txt, line {number}: .*{message}"):
        Tokenizer.from_files(*files, names)


def test_a_merge_that_comes_twice(tmp_path: Path) -> None:
    files = write(tmp_path, [*BYTES, b"ab", b"cd"], ["a b", "c d", "a b"])
    with pytest.raises(ValueError, match=r"line 4: 'a b' repeats .*merges\.txt, line 2"):
        Tokenizer.from_files(*files)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": 98}, r"id 98 is both b'[ab]' and b'[ab]'"),
        ({"a": "97"}, r"\['a'\]: '97' must be an integer"),
        ({"a": True}, r"\['a'\]: True must be an integer"),
        ({"a": 97.0}, r"\['a'\]: 97.0 must be an integer"),
        ({"a": -1}, "has id -1"),
        ({"a": 10**9}, "has id 1000000000 but only 257 tokens"),
        ({"": 300}, "id 300 is an empty token"),
        ({"a b": 300}, "'a b' is not in GPT-2's spelling: ' ' stands for no byte; if it is a"),
        ({"\ud800": 300}, r"'\\ud800' is not in GPT-2's spelling"),
    ],
)
def test_damaged_vocab(tmp_path: Path, change: dict[str, object], message: str) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab"], ["a b"])
    ids = json.loads(vocab.read_text(encoding="utf-8"))
    vocab.write_text(json.dumps({**ids, **change}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"vocab\.json.*{message}"):
        Tokenizer.from_files(vocab, merges)


def test_a_vocab_without_a_byte(tmp_path: Path) -> None:
    files = write(tmp_path, [*BYTES[1:], b"\0\0"], [])
    with pytest.raises(
        ValueError, match=r"vocab\.json lacks 1 of the 256 single bytes, first b'\\"
    ):
        Tokenizer.from_files(*files)


def test_a_key_that_comes_twice(tmp_path: Path) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab"], ["a b"])
    text = vocab.read_text(encoding="utf-8")
    vocab.write_text(text.replace('"ab": 256', '"ab": 256, "a": 300'), encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json: 'a' comes twice, as 97 and 300"):
        Tokenizer.from_files(vocab, merges)


@pytest.mark.parametrize("number", ["NaN", "1e999", "9" * 5000])
def test_ids_that_are_no_numbers(tmp_path: Path, number: str) -> None:
    vocab, merges = write(tmp_path, [*BYTES, b"ab"], ["a b"])
    text = vocab.read_text(encoding="utf-8")
    vocab.write_text(text.replace(": 97", f": {number}"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json"):
        Tokenizer.from_files(vocab, merges)


def test_files_that_do_not_fit_together(files: tuple[Path, Path]) -> None:
    vocab = json.loads(files[0].read_text(encoding="utf-8"))
    vocab.popitem()
    files[0].write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(ValueError, match=r"merges\.txt, line 740: .* not in the .*vocab\.json"):
        Tokenizer.from_files(*files, ["<|endoftext|>", "<|pad 0|>", "été"])


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")


def test_what_the_files_cannot_hold(tmp_path: Path) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    vocab = dict(enumerate([*BYTES, b"ab", b"abc"]))
    with pytest.raises(ValueError, match=r"pattern='cl100k' cannot be written to vocab\.json"):
        Tokenizer(vocab, [(b"a", b"b")], pattern="cl100k").save_gpt2(*files)
    unmade = Tokenizer(vocab, [(b"a", b"b")], ignore_merges=True)
    with pytest.raises(ValueError, match=r"the merges leave the token b'abc', id 257, as \[b'ab'"):
        unmade.save_gpt2(*files)
    assert not list(tmp_path.iterdir())


def test_what_merges_alone_can_say(tmp_path: Path, trained: Tokenizer) -> None:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    specials = list(trained.special_tokens)
    for merges in (trained.merges, None):
        same = Tokenizer(trained.vocab, merges, specials, ignore_merges=True)
        same.save_gpt2(*files)
        assert Tokenizer.from_files(*files, specials).fingerprint == trained.fingerprint
