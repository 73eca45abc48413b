import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tlm_data.engines import WorkerLostError, start_engine


def square(shared: int, item: int, report: Any) -> int:
    report(item)
    return shared + item**2


def fail(shared: None, item: str, report: Any) -> None:
    if item == "os":
        raise ConnectionResetError(104, "the server is gone")
    if item == "odd":
        raise type("LocalError", (Exception,), {})("has no module")
    raise ValueError(f"a wrong {item}")


def die_at_first(shared: Path, item: int, report: Any) -> int:
    """Kill the own process the first time that this item comes."""
    with (shared / f"{item}").open("a") as file:
        file.write("x")
    if item == 1 and (shared / "1").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die_always(shared: Path, item: int, report: Any) -> None:
    (shared / f"{time.monotonic_ns()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(shared: Path, item: int, report: Any) -> None:
    (shared / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize(("name", "workers"), [("inprocess", None), ("processes", 2)])
def test_results_and_reports(name: Any, workers: int | None) -> None:
    reports: list[tuple[int, int]] = []
    with start_engine(
        name, square, 100, num_workers=workers, on_report=lambda *report: reports.append(report)
    ) as engine:
        assert engine.num_workers == (workers or 1)
        futures = [engine.submit(item) for item in range(7)]
        assert [future.result() for future in futures] == [100 + n**2 for n in range(7)]
    assert sorted(reports) == [(n, n) for n in range(7)]


@pytest.mark.parametrize(("name", "workers"), [("inprocess", None), ("processes", 1)])
def test_an_error_is_the_works_own(name: Any, workers: int | None) -> None:
    with start_engine(name, fail, None, num_workers=workers) as engine:
        with pytest.raises(ValueError, match="a wrong thing") as caught:
            engine.submit("thing").result()
        if name == "processes":
            assert "in fail" in str(caught.value.__cause__)
        # Not to be taken for the loss of a worker.
        with pytest.raises(ConnectionResetError, match="the server is gone"):
            engine.submit("os").result()
        with pytest.raises(Exception, match="has no module"):
            engine.submit("odd").result()


def test_a_killed_worker_is_replaced_and_its_item_begun_again(tmp_path: Path) -> None:
    with start_engine("processes", die_at_first, tmp_path, num_workers=2) as engine:
        pids = [future.result() for future in [engine.submit(item) for item in range(6)]]
    assert len(set(pids)) >= 2
    assert {int(path.name): path.stat().st_size for path in tmp_path.iterdir()} == {
        0: 1, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1,
    }  # fmt: skip


def test_an_item_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    with start_engine("processes", die_always, tmp_path, num_workers=1) as engine:
        future = engine.submit(5)
        with pytest.raises(WorkerLostError, match=r"3 worker processes died .* of 5 \(signal 9\)"):
            future.result()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_script_without_a_main_guard_is_told_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from tlm_data.engines import start_engine\n"
        "with start_engine('processes', print, None, num_workers=2) as engine:\n"
        "    engine.submit(1).result()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("Traceback") == 1
    assert "ValueError: a worker process could not start (exit code 1): a script" in done.stderr


def test_leaving_ends_workers_at_work(tmp_path: Path) -> None:
    with start_engine("processes", sleep, tmp_path, num_workers=1) as engine:
        future, waiting = engine.submit(0), engine.submit(1)
        while not list(tmp_path.iterdir()):
            time.sleep(0.01)
    with pytest.raises(WorkerLostError):
        future.result(timeout=5)
    assert not waiting.done()
    with pytest.raises(ProcessLookupError):
        os.kill(int(next(tmp_path.iterdir()).name), 0)


def test_wrong_options() -> None:
    for options, message in (
        ({"name": "threads"}, "engine='threads' must be inprocess, processes or ray"),
        ({"name": "inprocess", "num_workers": 2}, "workers=2 needs engine=processes"),
        ({"name": "processes", "num_workers": 0}, "workers=0 must be at least 1"),
        ({"name": "processes", "ray_address": "auto"}, "ray_address=auto needs engine=ray"),
    ):
        with pytest.raises(ValueError, match=message):
            start_engine(work=square, shared=None, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be sent to other processes"):
        start_engine("processes", square, lambda: None)
