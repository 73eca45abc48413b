import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import psutil
import pytest
from bpe_tok import Tokenizer
from tlm_data import END_OF_TEXT, TokenStore
from tlm_data.cli import main


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Tokenizer.byte_level([END_OF_TEXT]).save("bytes")
    Path("text.txt").write_text(END_OF_TEXT.join(["some text", " ", "more of it"]))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, str, str]:
    """Run `tlm-data COMMAND` and return its exit code and what it prints."""
    try:
        main(command.split())
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    assert "Traceback" not in output.err
    return code, output.out, output.err


PREPARE = "prepare text.txt --tokenizer bytes --engine inprocess"


def test_prepare_verify_and_inspect(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("text.txt", "held-out.txt")
    code, out, err = run(capsys, f"{PREPARE} --out corpus --val held-out.txt --max-tokens 15")
    assert (code, err) == (0, "")
    assert out.splitlines()[-4:] == [
        str(work / "corpus"),
        "train   15 tokens of 2 documents, 14 B, 0.93 bytes a token, the longest 10 tokens",
        "val     21 tokens of 2 documents, 19 B, 0.90 bytes a token, the longest 11 tokens",
        "left out 2 documents: 2 empty",
    ]
    code, out, _ = run(capsys, f"{PREPARE} --out corpus --val held-out.txt --max-tokens 15")
    assert code == 0 and out.startswith(f"{work / 'corpus'} was prepared already\n")
    code, out, _ = run(capsys, "verify corpus")
    assert code == 0 and "corpus/train is whole: 15 tokens in 1 shard\n" in out
    code, out, _ = run(capsys, "inspect corpus")
    assert code == 0 and "'some text<|endoftext|>'" in out and out.count("store  ") == 2
    code, out, _ = run(capsys, "inspect corpus/val --samples 0")
    assert code == 0 and "21, uint16 in 1 shard" in out and "'e'" in out


def test_a_damaged_store_is_found(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, f"{PREPARE} --out corpus")
    shard = work / "corpus" / "train" / "shard-00000.bin"
    shard.write_bytes(shard.read_bytes()[::-1])
    code, _, err = run(capsys, "verify corpus")
    assert code == 2 and err.startswith("tlm-data: ")
    assert "corpus/train/shard-00000.bin is damaged" in err


def test_documents_of_other_kinds(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.jsonl").write_text('{"body": "one"}\n{"body": "\\ud800"}\n')
    common = "--tokenizer bytes --engine inprocess"
    code, out, _ = run(
        capsys,
        f"prepare a.jsonl {common} --out a --field body --errors skip --no-append-eot",
    )
    assert code == 0 and "left out 1 document: 1 not UTF-8" in out
    assert bytes(TokenStore.open("a/train")[:].astype("u1")) == b"one"
    Path("b.md").write_bytes(b"one\n\ntwo\r\nthree\\four\\nfive")
    for separator, count in (
        ("\\n\\n", 2), ("\\n", 3), ("\\r\\n", 2), ("\\\\", 3), ("\\\\n", 2), ("None", 1),
    ):  # fmt: skip
        out = f"b{len(list(work.iterdir()))}"
        run(capsys, f"prepare b.md {common} --out {out} --separator {separator}")
        assert TokenStore.open(f"{out}/train").num_documents == count


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("prepare", "--tokenizer"),
        ("prepare text.txt --tokenizer bytes --out x --workerz 3", "did you mean --workers?"),
        ("prepare text.txt --tokeniser bytes --out x", "--tokeniser; did you mean --tokenizer?\n"),
        ("prepare text.txt --tokenizer bytes --out x --max-tokens y", ": 'y' is not None or INT\n"),
        ("prepare text.txt --tokenizer bytes --out x --rank y", "--rank: 'y' is not a number\n"),
        ("prepare . --tokenizer bytes --out x", "out=x lies in the source ., where it would be"),
        ("prepare text.txt --tokenizer bytes --out x --val .", "out=x lies in the source ."),
        ("prepare text.txt --tokenizer bytes --out x --val text.txt", "and the validation text"),
        ("prepare text.txt --tokenizer bytes --out /", "out=/ must be a new folder"),
        ("prepare --tokenizer bytes --out x", "name at least one file"),
        ("prepare none.txt --tokenizer bytes --out x", "no file or folder none.txt"),
        ("prepare text.txt --tokenizer none --out x", "none is not a tokenizer: No such file"),
        ("prepare text.txt --tokenizer bytes --out text.txt", "text.txt exists and is not a corp"),
        ("prepare text.txt --tokenizer bytes --out x --end-token <eot>", "lacks the special tok"),
        ("prepare text.txt --tokenizer bytes --out x --val-fraction 2", "val_fraction=2.0 must li"),
        ("prepare text.txt --tokenizer bytes --out x --separator ", "separator"),
        ("prepare text.txt --tokenizer bytes --out x --ray-address a:1", "needs engine=ray"),
        ("prepare tinystories --tokenizer bytes --out x", "tlm-data download tinystories"),
        ("inspect text.txt", "text.txt is not a token store"),
        ("verify none", "none is not a token store"),
        ("download enwik8", "no corpus is named 'enwik8': choose one of stdlib, tinystories"),
        ("prepars", "the commands are prepare, inspect, verify, download, corpora"),
    ],
)
def test_a_mistake_is_one_line(
    work: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    code, out, err = run(capsys, command)
    assert code == 2 and out == ""
    assert err.startswith("tlm-data: ") and err.count("\n") == 1 and message in err
    assert not Path("x").exists()


def test_bytes_that_are_not_utf8(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("text.txt").write_bytes(b"abc\xff")
    code, _, err = run(capsys, f"{PREPARE} --out corpus")
    assert code == 2 and "text.txt is not UTF-8: byte 3 (0xff)" in err
    # Nothing was finished, so that other options may be tried at once.
    code, _, _ = run(capsys, f"{PREPARE} --out corpus --errors replace")
    assert code == 0 and TokenStore.open("corpus/train").num_bytes == 6


def test_named_corpora(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "corpora")
    assert code == 0 and "tinystories" in out and "ODC-By-1.0" in out
    code, out, _ = run(capsys, "download stdlib")
    assert code == 0 and "tlm-data prepare stdlib --val-fraction 0.1 --tokenizer" in out
    assert out.endswith(" --out stdlib-corpus\n")
    for was_prepared in ("", " was prepared already"):  # also where a folder has its name
        command = "prepare stdlib --tokenizer bytes --engine inprocess --max-tokens 9999"
        code, out, _ = run(capsys, f"{command} --out stdlib")
        assert code == 0 and f"{work / 'stdlib'}{was_prepared}\n" in out
    assert "the corpus stdlib was meant; the file or folder is ./stdlib" in out
    text = bytes(TokenStore.open("stdlib/train")[:].clip(0, 255).astype("u1"))
    assert text[:100].decode() in Path(sysconfig.get_path("stdlib"), "__future__.py").read_text()


def test_named_corpora_keep_their_place(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "prepare text.txt stdlib --tokenizer bytes --engine inprocess --max-tokens 30"
    run(capsys, f"{command} --out mixed")
    assert bytes(TokenStore.open("mixed/train")[:9].astype("u1")) == b"some text"


def test_fewer_tokens_than_asked_for_are_told(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit, is_told in ((21, False), (22, True)):
        _, out, _ = run(capsys, f"{PREPARE} --out out{limit} --max-tokens {limit}")
        assert (f"fewer than the {limit} tokens asked for" in out) == is_told
    Path("one.txt").write_text("a")
    _, out, _ = run(
        capsys, "prepare one.txt --tokenizer bytes --out 1 --engine inprocess --no-append-eot"
    )
    assert "the longest 1 token\n" in out


def test_ctrl_c_during_imports_is_one_line() -> None:
    code = """
import os, signal, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "tyro":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Stop())
from tlm_data.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "tlm-data: stopped\n")


def test_other_tokenizers_samples_are_refused(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, f"{PREPARE} --out corpus")
    Tokenizer.byte_level(["<x>"]).save("other")
    code, _, err = run(capsys, "inspect corpus --tokenizer other")
    assert code == 2 and "was made with another tokenizer than other" in err
    shutil.rmtree("corpus/tokenizer")
    code, out, _ = run(capsys, "inspect corpus")
    assert code == 0 and "111 " in out and "<|endoftext|>" not in out


def test_ctrl_c_says_how_to_go_on_and_ends_all(work: Path) -> None:
    with Path("big.txt").open("w") as file:
        for number in range(40):
            file.write(f"{number} some words of a document{END_OF_TEXT}" * 100_000)
    arguments = ["prepare", "big.txt", "--tokenizer", "bytes", "--out", "big", "--workers", "2"]
    command = [sys.executable, "-c", "from tlm_data.cli import main; main()", *arguments]
    manifests = work / ".big.partial" / "corpus" / "manifests"
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while not manifests.exists() or not list((work / ".big.partial").glob("corpus/train/.*")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.01)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (
        130,
        "tlm-data: stopped; the same command goes on from here\n",
    )
    assert psutil.wait_procs(children, timeout=5)[1] == []
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert TokenStore.open("big/train").num_documents == 4_000_000


def test_the_console_script_starts_without_torch() -> None:
    code = (
        "import sys; import tlm_data.cli, tlm_data.commands; "
        "assert not {'torch', 'ray', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
