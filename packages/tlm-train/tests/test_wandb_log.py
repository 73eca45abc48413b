import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tlm_train.wandb_log import WandbLog, resolve_mode, start_wandb

wandb = pytest.importorskip("wandb")


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    yield
    # Ends wandb's service, which child processes of later tests would otherwise share.
    wandb.teardown()


def start(mode: Any, folder: Path, said: list[str]) -> WandbLog | None:
    return start_wandb(
        resolve_mode(mode),
        project="tests",
        name="run",
        folder=folder,
        config={"optim": {"lr": 0.1}},
        say=said.append,
    )


def test_auto_without_a_login_is_off(tmp_path: Path) -> None:
    said: list[str] = []
    assert start("auto", tmp_path, said) is None
    assert start("disabled", tmp_path, said) is None
    assert not said and not list(tmp_path.iterdir())


def test_auto_follows_wandbs_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert start("auto", tmp_path, []) is None


@pytest.mark.filterwarnings("ignore")  # wandb's own
def test_offline_runs_are_written_and_go_on_under_their_id(tmp_path: Path) -> None:
    said: list[str] = []
    for step in (1, 2):
        log = start("offline", tmp_path, said)
        assert log is not None
        log.log({"step": step, "train_loss": 1.5})
        log.finish()
    run_id = (tmp_path / "wandb" / "run-id.txt").read_text()
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert runs and all(run_id in run.name for run in runs)
    assert any(run.glob("*.wandb") for run in runs)
    assert len(said) == 2
    for line in said:
        said_folder = Path(line.removeprefix("wandb: offline, later: wandb sync "))
        assert list(said_folder.glob("*.wandb"))


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_never_answers_gets_the_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlm_train.wandb_log._INIT_SECONDS", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        said: list[str] = []
        log = start("auto", tmp_path, said)
        assert log is not None
        log.log({"step": 1, "train_loss": 1.5})
        log.finish()
    assert said[0].startswith("wandb did not take the run, logging offline: ")
    assert said[1].startswith("wandb: offline") and len(said) == 2
    assert list((tmp_path / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.filterwarnings("ignore")
def test_auto_with_a_dead_server_is_offline_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        said: list[str] = []
        started = time.monotonic()
        log = start("auto", tmp_path, said)
        assert time.monotonic() - started < 30
        assert log is not None and said[-1].startswith("wandb: offline")
        log.finish()


def test_asking_for_what_cannot_be_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"log\.wandb=online needs a login: run `wandb login`"):
        start("online", tmp_path, [])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"log\.wandb=offline needs the wandb package: pip install"
    ):
        start("offline", tmp_path, [])
    assert start("auto", tmp_path, []) is None


def test_a_failure_is_said_once_and_ends_the_logging() -> None:
    class Broken:
        def log(self, row: dict[str, Any], step: int) -> None:
            raise RuntimeError("disk full")

        def finish(self) -> None:
            raise AssertionError("not called after a failure")

    said: list[str] = []
    log = WandbLog(Broken(), said.append)
    log.log({"step": 1})
    log.log({"step": 2})
    log.finish()
    assert said == ["wandb failed and is off for the rest of this run: disk full"]
