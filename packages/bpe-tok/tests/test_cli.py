import io
import json
import os
import random
import re
import signal
import subprocess
import sys
from array import array
from collections.abc import Callable
from pathlib import Path

import bpe_tok
import pytest
from bpe_tok import Tokenizer
from bpe_tok.cli import main

TEXT = "Hello wörld<|endoftext|>\n\n  two  日本 \t words\r\nlast line, no end"


class Result:
    """What a command wrote and returned."""

    def __init__(self, code: int, captured: "pytest.CaptureResult[bytes]") -> None:
        self.code, self.out, self.err = code, captured.out, captured.err.decode()


Run = Callable[..., Result]


@pytest.fixture
def run(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in this process, on some standard input."""

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
        return Result(code, capsysbinary.readouterr())

    return run


@pytest.fixture
def folder(trained: Tokenizer, tmp_path: Path) -> Path:
    trained.save(tmp_path / "tok")
    return tmp_path / "tok"


def little_endian(typecode: str, data: bytes) -> list[int]:
    numbers = array(typecode, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return list(numbers)


def refused(result: Result, message: str) -> None:
    assert result.code == 2
    assert result.out == b""
    assert result.err.count("\n") == 1
    assert re.search(message, result.err)


def test_version_and_help(run: Run) -> None:
    version = f"bpe-tok {bpe_tok.__version__} (engine: {bpe_tok.engine})\n"
    assert run("--version").out.decode() == version
    assert b"train a tokenizer on texts" in run().out
    for command in ("train", "encode", "decode", "count", "show", "convert", "info"):
        result = run(command, "--help")
        assert result.code == 0
        assert f"  bpe-tok {command} ".encode() in result.out or b"| bpe-tok " in result.out
        assert all(len(line) <= 100 for line in result.out.decode().split("\n"))


def test_as_it_is_run(folder: Path) -> None:
    """Text through a pipe of processes, as a shell has it."""
    command = [sys.executable, "-c", "import sys; from bpe_tok.cli import main; sys.exit(main())"]
    encode = subprocess.run(
        [*command, "encode", "-t", folder, "--whole"], input=TEXT.encode(), capture_output=True
    )
    decode = subprocess.run(
        [*command, "decode", "-t", folder, "--whole"], input=encode.stdout, capture_output=True
    )
    assert (encode.stderr, decode.stderr) == (b"", b"")
    assert decode.stdout == TEXT.encode()


@pytest.mark.skipif(os.name != "posix", reason="no such signals")
def test_a_closed_pipe_and_ctrl_c_are_quiet(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from bpe_tok.cli import main; sys.exit(main())"]
    ids = tmp_path / "ids.txt"
    ids.write_text("97\n" * 200_000)
    arguments = [*command, "decode", "-t", str(folder), str(ids)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"a\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141
    # It waits for a line of standard input, once it has written the first.
    with subprocess.Popen(
        [*command, "decode", "-t", str(folder), "-o", str(tmp_path / "never"), "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"97\n" * 100_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b"bpe-tok: stopped\n"
        assert process.wait() == 130
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ids.txt", "tok"]


def test_train(run: Run, tmp_path: Path, corpus: list[str]) -> None:
    texts = tmp_path / "texts"
    (texts / "more").mkdir(parents=True)
    (texts / ".git").mkdir()
    (texts / ".git" / "config").write_bytes(b"\xff")
    for place, text in enumerate(corpus):
        path = texts / ("more" if place % 2 else ".") / f"{place}.txt"
        path.write_bytes(text.encode())
    result = run(
        *("train", texts, "--vocab-size", "1,000", "-o", tmp_path / "out"),
        *("--special", "<|endoftext|>", "--special", "<|x|>", "--threads", 2),
    )
    assert (result.code, result.out) == (0, b"")
    assert re.match(rf"1,000 tokens from .* in .* s \(engine: {bpe_tok.engine}\), in ", result.err)
    expected = bpe_tok.train(corpus, 1000, ["<|endoftext|>", "<|x|>"])
    assert Tokenizer.load(tmp_path / "out").fingerprint == expected.fingerprint


def test_train_on_standard_input(run: Run, tmp_path: Path) -> None:
    text = "low low lower lowest naïve " * 3
    arguments = ["train", "-o", tmp_path / "out", "--pattern", "o200k", "--min-frequency", 3]
    result = run(*arguments, "--vocab-size", 300, stdin=text.encode())
    assert result.code == 0
    assert "note: fewer than 300 tokens" in result.err
    expected = bpe_tok.train([text], 300, pattern="o200k", min_frequency=3)
    assert Tokenizer.load(tmp_path / "out").fingerprint == expected.fingerprint
    refused(run(*arguments, "--vocab-size", 300), "tokenizer.json is there already; --force repl")
    result = run(*arguments, "--vocab-size", 258, "--force", "--quiet", stdin=text.encode())
    assert (result.code, result.err) == (0, "")
    assert Tokenizer.load(tmp_path / "out").vocab_size == 258


def test_lines_there_and_back(run: Run, folder: Path, trained: Tokenizer) -> None:
    lines = TEXT.encode().split(b"\n")
    encoded = run("encode", "-t", folder, stdin=TEXT.encode())
    assert (encoded.code, encoded.err) == (0, "")
    ids = [list(map(int, line.split())) for line in encoded.out.splitlines()]
    assert ids == [trained.encode(line) for line in lines]
    decoded = run("decode", "-t", folder, stdin=encoded.out)
    assert decoded.out == TEXT.encode() + b"\n"


def test_the_whole_there_and_back(run: Run, folder: Path, trained: Tokenizer) -> None:
    data = TEXT.encode() + b"\xff\xe6\x97 no UTF-8"
    encoded = run("encode", "-t", folder, "--whole", stdin=data)
    assert encoded.out == " ".join(map(str, trained.encode(data))).encode() + b"\n"
    assert run("decode", "-t", folder, "--whole", stdin=encoded.out).out == data


@pytest.mark.parametrize(("kind", "typecode"), [("uint16", "H"), ("uint32", "I")])
def test_binary_there_and_back(
    run: Run, folder: Path, trained: Tokenizer, tmp_path: Path, kind: str, typecode: str
) -> None:
    data = random.Random(5).randbytes(3000) + TEXT.encode() * 500
    text, ids, back = tmp_path / "text", tmp_path / "ids.bin", tmp_path / "back"
    text.write_bytes(data)
    result = run("encode", "-t", folder, text, text, "--format", kind, "-o", ids)
    assert (result.code, result.out, result.err) == (0, b"", "")
    expected = trained.encode(data) * 2
    assert little_endian(typecode, ids.read_bytes()) == expected
    assert run("encode", "-t", folder, "--format", kind, stdin=data * 2).out
    assert run("decode", "-t", folder, ids, "--format", kind, "-o", back).code == 0
    assert back.read_bytes() == data * 2
    ids.write_bytes(ids.read_bytes()[:-1])
    refused(run("decode", "-t", folder, ids, "--format", kind, "-o", back), "no whole number of")
    assert back.read_bytes() == data * 2


def test_a_text_from_the_command_line(run: Run, folder: Path, trained: Tokenizer) -> None:
    result = run("encode", "-t", folder, "--text", "hi\nthere<|endoftext|>")
    assert (
        result.out == " ".join(map(str, trained.encode("hi\nthere<|endoftext|>"))).encode() + b"\n"
    )
    ordinary = trained.encode("<|endoftext|>", allowed_special=())
    result = run("encode", "-t", folder, "--text", "<|endoftext|>", "--no-special")
    assert result.out == " ".join(map(str, ordinary)).encode() + b"\n"
    result = run("encode", "-t", folder, "--append", "<|endoftext|>", stdin=b"a\nb")
    assert result.out == b"97 256\n98 256\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "a", "file"], "--text is in place of files"),
        (["--append", "<|no|>"], r"--append '<\|no\|>' must be one of the special tokens \['"),
        (["no-such-file"], "bpe-tok: no-such-file: No such file or directory"),
        (["-", "-"], "- is given twice"),
        (
            ["--threads", "0"],
            r"--threads: 0 must be at least 1 \(bpe-tok encode --help says more\)",
        ),
        (["--threads", "x"], "--threads: invalid positive value: 'x'"),
        (["--format", "int8"], "invalid choice: 'int8'"),
    ],
)
def test_mistakes_of_encode(run: Run, folder: Path, arguments: list[str], message: str) -> None:
    refused(run("encode", "-t", folder, *arguments), message)


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"97 x", "standard input, line 1: 'x' must be a token id"),
        (b"97\n98.5", "standard input, line 2: '98.5' must be a token id"),
        (b"97\n98\n99999", "standard input, line 3: token id 99999 is not in the vocab, ids are 0"),
        (b"-1", "line 1: token id -1 is not in the vocab"),
        (b"9" * 5000, "line 1: "),
    ],
)
def test_mistakes_of_decode(run: Run, folder: Path, stdin: bytes, message: str) -> None:
    result = run("decode", "-t", folder, stdin=stdin)
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert re.search(message, result.err)


def test_ids_as_a_list_are_decoded(run: Run, folder: Path) -> None:
    assert run("decode", "-t", folder, stdin=b"[97, 98]\n\n99,100").out == b"ab\n\ncd\n"


def test_count(run: Run, folder: Path, trained: Tokenizer, tmp_path: Path) -> None:
    one, empty = tmp_path / "one.txt", tmp_path / "empty.txt"
    one.write_bytes(TEXT.encode())
    empty.touch()
    tokens, size = len(trained.encode(TEXT)), len(TEXT.encode())
    lines = run("count", "-t", folder, one, empty).out.decode().splitlines()
    ratio = f"{size / tokens:.3f}"
    assert [line.split() for line in lines] == [
        [str(tokens), str(size), ratio, str(one)],
        ["0", "0", "-", str(empty)],
        [str(tokens), str(size), ratio, "total"],
    ]
    result = run("count", "-t", folder, stdin=TEXT.encode())
    assert result.out.split() == [b"%d" % tokens, b"%d" % size, ratio.encode()]
    (tmp_path / "nothing").mkdir()
    refused(run("count", "-t", folder, tmp_path / "nothing"), "nothing: no files in this folder")


def test_show(run: Run, folder: Path) -> None:
    result = run("show", "-t", folder, "--text", "ab\x1b\u202e\n\nédz日", "--color", "never")
    shown = result.out.decode()
    assert "\x1b" not in shown and "\u202e" not in shown
    assert r"\x1b" in shown and "⏎\n⏎\n" in shown
    assert re.fullmatch(r"\d+ tokens, \d+ bytes, .* bytes per token\n", result.err)
    result = run("show", "-t", folder, "--text", "q\x1bz", "--color", "always", "--ids")
    assert re.sub(r"\x1b\[[\d;]*m", "", result.out.decode()) == "q 113\\x1b 27z 122\n"
    assert run("show", "-t", folder, "--text", "q<|end|>", "--ids").out == b"q[113]|<|end|>[257]\n"
    assert run("show", "-t", folder, "--text", "").out == b""


def test_a_page(run: Run, folder: Path, trained: Tokenizer, tmp_path: Path) -> None:
    page, text = (
        tmp_path / "page.html",
        "<script>alert('x')</script> & {{ids}}<|end|>\n</pre>é日\n\n",
    )
    source = tmp_path / "a&b.txt"
    source.write_text(text, encoding="utf-8")
    result = run("show", "-t", folder, source, "--html", page)
    assert result.out == f"{page}\n".encode()
    html = page.read_text(encoding="utf-8")
    ids = trained.encode(text)
    found = re.search(r"const ids = (\[.*?\]), hex = (\{.*?\});", html)
    assert found is not None
    assert json.loads(found[1]) == ids
    assert json.loads(found[2]) == {str(n): trained.vocab[n].hex(" ") for n in ids}
    assert html.count("<script>") == html.count("</script>") == 1
    assert html.count("<i>") + html.count("<i class=s>") == len(ids)
    assert html.count("<i class=s>") == 1
    assert "a&amp;b.txt" in html
    assert not re.search(r"""(src|href)=|url\(|https?:""", html)


def test_convert_to_all_formats_and_back(
    run: Run, folder: Path, trained: Tokenizer, tmp_path: Path
) -> None:
    gpt2, rule, back = tmp_path / "new" / "vocab.json", tmp_path / "a.tiktoken", tmp_path / "back"
    assert run("convert", folder, gpt2).code == 0
    assert sorted(entry.name for entry in gpt2.parent.iterdir()) == ["merges.txt", "vocab.json"]
    assert run("convert", gpt2.parent, back).out == f"{back / 'tokenizer.json'}\n".encode()
    assert Tokenizer.load(back).fingerprint == trained.fingerprint
    refused(run("convert", gpt2, back), "tokenizer.json is there already; --force replaces it")
    result = run("convert", gpt2, rule)
    assert "--pattern 'gpt2' --special '<|endoftext|>=256'" in result.err
    refused(run("convert", rule, back, "--force"), "does not say which pattern cuts the text")
    specials = [f"--special={token}={n}" for token, n in trained.special_tokens.items()]
    assert run("convert", rule, back, "--force", "--pattern", "gpt2", *specials).code == 0
    loaded = Tokenizer.load(back)
    assert (loaded.merges, loaded.vocab) == (None, trained.vocab)
    assert loaded.special_tokens == trained.special_tokens
    assert loaded.encode(TEXT) == trained.encode(TEXT)


def test_gpt2s_files_with_other_names(run: Run, shared_data: Path) -> None:
    result = run("encode", "-t", shared_data / "gpt2_vocab.json", "--text", "Hello<|endoftext|>")
    assert result.out == b"15496 50256\n"


@pytest.mark.parametrize(
    ("files", "target", "arguments", "message"),
    [
        ({"vocab.json": "[]"}, "vocab.json", [], r"vocab\.json: \[\] must be an object"),
        ({"vocab.json": "{}"}, "vocab.json", [], r"merges\.txt: No such file"),
        ({"vocab.json": "{}", "merges.txt": "a b c"}, "vocab.json", [], r"merges\.txt, line 1"),
        (
            {"merges.txt": ""},
            "merges.txt",
            [],
            "merges alone are no tokenizer; give the vocab.json",
        ),
        ({"x.json": '{"a": 1}'}, "x.json", [], "neither a tokenizer.json nor a vocab.json"),
        ({"x.txt": ""}, ".", [], r"a folder must have a tokenizer\.json.* it has none of the last"),
        ({"a.tiktoken": "", "b.tiktoken": ""}, ".", [], "it has 2 of the last"),
        ({"a.tiktoken": ""}, ".", ["--pattern", "gpt2"], r"a\.tiktoken lacks 256"),
        (
            {"a.tiktoken": ""},
            ".",
            ["--special", "a=1", "--special", "b"],
            "give ids to all special",
        ),
        (
            {"tokenizer.json": "{}"},
            ".",
            ["--special", "a"],
            r"says itself which its special tokens",
        ),
        ({"tokenizer.json": "{"}, ".", [], r"tokenizer\.json: not JSON"),
        ({}, "nothing", [], "nothing: No such file or directory"),
    ],
)
def test_what_is_no_tokenizer(
    run: Run,
    tmp_path: Path,
    files: dict[str, str],
    target: str,
    arguments: list[str],
    message: str,
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    refused(run("info", "-t", tmp_path / target, *arguments), message)


def test_special_tokens_of_gpt2s_files(run: Run, folder: Path, tmp_path: Path) -> None:
    assert run("convert", folder, tmp_path / "vocab.json").code == 0
    arguments = ("-t", tmp_path / "vocab.json", "--text", "<|end|>x<|new|>")
    assert run("encode", *arguments).out.startswith(b"257 120 ")
    names = [f"--special={token}" for token in Tokenizer.load(folder).special_tokens]
    assert run("encode", *arguments, *names, "--special=<|new|>").out == b"257 120 1000\n"
    refused(run("encode", *arguments, "--special=<|end|>=9", *names[2:]), "has id 257, not 9")


def test_info(run: Run, folder: Path, trained: Tokenizer, tmp_path: Path) -> None:
    text = run("info", "-t", folder).out.decode()
    assert re.search(rf"^engine +{bpe_tok.engine}$", text, re.MULTILINE)
    assert re.search(rf"^fingerprint +{trained.fingerprint}$", text, re.MULTILINE)
    assert re.search(r"^special tokens  <\|endoftext\|> \(256\), <\|end\|> \(257\)", text, re.M)
    assert re.search(r"^ +1  █+ +256 +25\.6%$", text, re.MULTILINE)
    source = tmp_path / "text"
    source.write_bytes(b"the the the <|end|>\n")
    text = run("info", "-t", folder, source, "--top", 2).out.decode()
    tokens = trained.encode(source.read_bytes())
    assert re.search(rf"^text +20 bytes, {len(tokens)} tokens$", text, re.MULTILINE)
    assert re.search(rf"^bytes per token +{20 / len(tokens):.3f}$", text, re.MULTILINE)
    assert re.search(r"^ +\d+ +2 +\d+\.\d+%  ' the'$", text, re.MULTILINE)
    assert re.search(r"^never used: \d+ tokens longer than a byte", text, re.MULTILINE)
    rule = Tokenizer(trained.vocab, None, pattern=r"\S+|\s+")
    rule.save(tmp_path / "rule")
    text = run("info", "-t", tmp_path / "rule", source).out.decode()
    assert re.search(r"^merges +none: tiktoken's rule$", text, re.MULTILINE)
    assert re.search(r"^pattern +\\S\+\|\\s\+$", text, re.MULTILINE)


def test_what_a_file_leaves_undone_is_noted(run: Run, folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "truncation": {}}), encoding="utf-8")
    result = run("encode", "-t", path, "--text", "a")
    assert (result.code, result.out) == (0, b"97\n")
    assert re.fullmatch(r"bpe-tok: note: .*tokenizer\.json: truncation: .*\n", result.err)
    path.write_text(json.dumps({**content, "normalizer": {"type": "NFC"}}), encoding="utf-8")
    refused(run("convert", path, folder / "new"), "normalizer=.* is not supported")
    assert run("convert", path, folder / "new", "--drop-normalizer").code == 0
