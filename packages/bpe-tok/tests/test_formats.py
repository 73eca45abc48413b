import json
from pathlib import Path
from typing import Any

import pytest
from bpe_tok import Tokenizer, train
from bpe_tok.spelling import spell


@pytest.fixture
def saved(trained: Tokenizer, tmp_path: Path) -> Path:
    trained.save(tmp_path)
    return tmp_path / "tokenizer.json"


@pytest.fixture
def gpt2_files(trained: Tokenizer, tmp_path: Path) -> tuple[Path, Path]:
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    trained.save_gpt2(*files)
    return files


def test_gpt2_files_come_back(trained: Tokenizer, gpt2_files: tuple[Path, Path]) -> None:
    loaded = Tokenizer.from_files(*gpt2_files, list(trained.special_tokens))
    assert loaded.fingerprint == trained.fingerprint
    assert gpt2_files[1].read_text(encoding="utf-8").startswith("#version: 0.2\n")


def test_gpt2s_own_files_come_back(shared_data: Path, tmp_path: Path) -> None:
    files = shared_data / "gpt2_vocab.json", shared_data / "gpt2_merges.txt"
    gpt2 = Tokenizer.from_files(*files, ["<|endoftext|>"])
    assert (gpt2.vocab_size, len(gpt2.merges)) == (50257, 50000)
    assert gpt2.special_tokens == {"<|endoftext|>": 50256}
    gpt2.save_gpt2(tmp_path / "vocab.json", tmp_path / "merges.txt")
    written = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert written == json.loads(files[0].read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", ["", "#version: 0.2\n"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_merges_with_and_without_a_first_line(tmp_path: Path, version: str, end: str) -> None:
    vocab, merges = tmp_path / "vocab.json", tmp_path / "merges.txt"
    tokens = [*(spell(bytes([byte])) for byte in range(256)), "##", "Ġ##"]
    vocab.write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    merges.write_bytes(f"{version}# #\nĠ ##{end}".encode())
    assert Tokenizer.from_files(vocab, merges).merges == [(b"#", b"#"), (b" ", b"##")]


def test_hugging_faces_own_file_is_read(trained: Tokenizer, saved: Path, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tmp_path / "theirs.json"
    tokenizers.Tokenizer.from_file(str(saved)).save(str(theirs))
    assert Tokenizer.load(theirs).fingerprint == trained.fingerprint


def test_special_tokens_that_are_ordinary_tokens_too(tmp_path: Path) -> None:
    vocab = dict(enumerate([*(bytes([n]) for n in range(256)), b" t"]))
    tokenizer = Tokenizer(vocab, [(b" ", b"t")], ["\n", " t", "<| |>"])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "a t\n<| |>t"
    assert theirs.encode(text).ids == tokenizer.encode(text) == [97, 256, 10, 257, 116]


def test_a_special_token_spelled_like_another(tmp_path: Path) -> None:
    vocab = dict(enumerate([*(bytes([n]) for n in range(256)), b" t"]))
    merges = [(b" ", b"t")]
    with pytest.raises(ValueError, match=r"special token 'Ġt' must not be the spelling of b' t'"):
        Tokenizer(vocab, merges, ["Ġt"])
    Tokenizer(vocab, merges, ["<|x|>"]).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<|x|>", "Ġt"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"tokenizer\.json.*'Ġt'"):
        Tokenizer.load(path)


@pytest.mark.parametrize("special", ["été", "für", "日本", "początek", "\n", " t", "<|Ġ|>"])
def test_special_tokens_outside_ascii_are_saved(special: str, tmp_path: Path) -> None:
    tokenizer = train(["the thé für początek", "日本 \x05 ÿ\n"] * 2, 300, [special, "<|end|>"])
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).fingerprint == tokenizer.fingerprint
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = f"the {special}{special}<|end|>thé {special}"
    assert theirs.encode(text).ids == tokenizer.encode(text)


def test_a_forgotten_special_token(gpt2_files: tuple[Path, Path]) -> None:
    message = (
        r"vocab\.json: '<\|pad 0\|>' is not .*; if it is a special token, name it in special_to"
    )
    with pytest.raises(ValueError, match=message):
        Tokenizer.from_files(*gpt2_files, ["<|endoftext|>", "été"])


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["model"], None, "model: None must be an object"),
        (["model", "type"], "WordPiece", "model: type='WordPiece' is not supported, only \"BPE\""),
        (["model", "merges"], {}, "model.merges: {} must be an array"),
        (["model", "merges", 3], "ab", r"model.merges\[3\]: 'ab' must be two tokens"),
        (["model", "merges", 3], ["a", 1], r"model.merges\[3\]: \['a', 1\] must be two tokens"),
        (["model", "merges", 3], "a 中", r"model.merges\[3\]: '中' is not in GPT-2's spelling"),
        (["model", "merges", 3], "a \x00", r"model.merges\[3\]: .* stands for no byte"),
        (["model", "merges", 3], "zq qz", r"merges\[3\].*the left part b'zq' is not in the vocab"),
        (["model", "vocab"], [], "model.vocab: .* must be an object"),
        (["model", "vocab", "a"], "97", r"model.vocab\['a'\]: '97' must be an integer"),
        (["model", "vocab", "a"], True, r"model.vocab\['a'\]: True must be an integer"),
        (["model", "vocab", "a"], 98, r"id 98 is both"),
        (["model", "vocab", "a"], 5000, r"vocab has id 98 but not 97"),
        (["model", "vocab", "中"], 1000, "model.vocab: '中' is not .*, name it in added_tokens"),
        (["added_tokens", 0, "content"], "\ud800", r"special token has a lone surrogate, U\+D800"),
        (["model", "dropout"], 0.1, "model: dropout=0.1 is not supported, only null or 0"),
        (["added_tokens", 0], "x", r"added_tokens\[0\]: 'x' must be an object"),
        (["added_tokens", 0, "id"], None, r"added_tokens\[0\].id: None must be an integer"),
        (["added_tokens", 0, "content"], 1, r"added_tokens\[0\].content: 1 must be a string"),
        (["added_tokens", 0, "lstrip"], True, r"added_tokens\[0\]: lstrip=True is not supported"),
        (["normalizer"], {"type": "NFC"}, "normalizer=.* is not supported, only null"),
        (["pre_tokenizer"], None, "pre_tokenizer: None must be an object"),
        (["pre_tokenizer", "type"], "Split", "pre_tokenizer: type='Split' is not supported"),
        (["pre_tokenizer", "add_prefix_space"], True, "add_prefix_space=True is not supported"),
        (["post_processor"], {"type": "TemplateProcessing"}, "post_processor: type=.* not supp"),
    ],
)
def test_damaged_tokenizer_json(saved: Path, place: list[Any], value: Any, message: str) -> None:
    content = json.loads(saved.read_text(encoding="utf-8"))
    part = content
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    saved.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"tokenizer\.json.*{message}"):
        Tokenizer.load(saved)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON: Expecting value: line 1 column 1"),
        (b'{"model": {"type": "BPE", "voc', "not JSON: Unterminated string .* line 1 column 27"),
        (b"[]", r"\[\] must be an object"),
        (b'{"model": "\xff"}', "not UTF-8 at byte 11"),
        (b"[" * 1_000_000, "nested too deep"),
    ],
)
def test_what_is_no_tokenizer_json(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(data)
    with pytest.raises(ValueError, match=rf"tokenizer\.json: .*{message}"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ab", "'ab' must be two tokens"),
        ("a b c", "'a b c' must be two tokens"),
        ("", "'' must be two tokens"),
        ("a ", "'a ' must be two tokens"),
        ("a 中", "'中' stands for no byte"),
    ],
)
def test_damaged_merges(gpt2_files: tuple[Path, Path], line: str, message: str) -> None:
    lines = gpt2_files[1].read_text(encoding="utf-8").split("\n")
    lines[4] = line
    gpt2_files[1].write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"merges\.txt, line 5: .*{message}"):
        Tokenizer.from_files(*gpt2_files)


def test_truncated_files_are_refused_at_any_length(trained: Tokenizer, saved: Path) -> None:
    data = saved.read_bytes()
    for length in range(0, len(data) - 1, len(data) // 50):
        saved.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"tokenizer\.json"):
            Tokenizer.load(saved)


def test_files_that_do_not_fit_together(gpt2_files: tuple[Path, Path]) -> None:
    vocab = json.loads(gpt2_files[0].read_text(encoding="utf-8"))
    vocab.popitem()
    gpt2_files[0].write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(ValueError, match=r"vocab\.json.*merges\.txt: merges\[738\]=.* not in the"):
        Tokenizer.from_files(*gpt2_files, ["<|endoftext|>", "<|pad 0|>", "été"])


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
