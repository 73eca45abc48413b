import io
import re

import pytest
from rich.console import Console
from tlm_data.progress import ProgressDisplay


def test_a_terminal_gets_one_live_line() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    with ProgressDisplay(console) as progress:
        progress.update("encode", 1, 2)
        progress.update("train", 30, 100, "step 30  loss 1.234")
        progress.say("[not markup] kept, a[1:x:2] b[:a:] :key:")
        (task,) = progress._live.tasks
        assert (task.description, task.completed, task.total) == ("train", 30, 100)
    assert "loss 1.234" in output.getvalue()
    assert "[not markup] kept, a[1:x:2] b[:a:] :key:" in output.getvalue()


def test_all_facts_fit_into_80_columns() -> None:
    output = io.StringIO()
    with ProgressDisplay(Console(file=output, force_terminal=True, width=80)) as progress:
        progress.update("train", 1000, 1200, "step 1000  loss 10.234  lr 2.0e-03  123,456 tokens/s")
    assert "123,456 tokens/s left" in re.sub(r"\x1b\[[\d;?]*\w", "", output.getvalue())


def test_a_pipe_gets_plain_lines() -> None:
    output = io.StringIO()
    with ProgressDisplay(Console(file=output, force_terminal=False, width=40)) as progress:
        for step in range(1, 101):
            progress.update("train", step, 100, f"step {step}  loss 1.234")
        progress.say("a line that is longer than the forty columns of this console, on one line")
    lines = output.getvalue().splitlines()
    assert lines[0] == "train: 100%  step 100  loss 1.234"
    assert lines[1].endswith("on one line")
    assert len(lines) == 2 and "\x1b" not in output.getvalue()


def test_plain_lines_come_seldom_and_say_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with ProgressDisplay(Console(file=output, force_terminal=False)) as progress:
        for done in (50, 51, 60, 100, 200, 250, 250):
            progress.update("encode", done, 250, "12 MB/s")
            now += 4
    assert output.getvalue().splitlines() == [
        "encode:  24%  12 MB/s  2:32 left",
        "encode:  80%  12 MB/s  0:05 left",
        "encode: 100%  12 MB/s",
    ]
