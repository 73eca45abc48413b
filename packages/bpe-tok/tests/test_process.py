"""What only a whole process shows: its end, and its standard streams."""

import subprocess
import sys

import bpe_tok
import pytest

DAEMON = """
import threading, time
from bpe_tok import Tokenizer

tokenizer = Tokenizer.byte_level()
text = "some words and more " * 120_000

def work():
    while True:
        tokenizer.count(text)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.3)
"""


@pytest.mark.skipif(bpe_tok.engine == "pure", reason="it is the engine in C++ that could abort")
def test_a_process_ends_while_daemon_threads_encode() -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", DAEMON], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        "encode -t {t} <&-",
        "encode -t {t} {t}/tokenizer.json >&-",
        "train --vocab-size 260 -o {t}/x <&-",
    ],
)
def test_a_closed_stream_is_no_traceback(tmp_path, command: str) -> None:
    bpe_tok.Tokenizer.byte_level().save(tmp_path)
    run = f"{sys.executable} -c 'from bpe_tok.cli import main; raise SystemExit(main())' "
    done = subprocess.run(
        run + command.format(t=tmp_path), shell=True, capture_output=True, text=True, timeout=60
    )
    assert done.returncode in (0, 2)
    assert "Traceback" not in done.stderr
