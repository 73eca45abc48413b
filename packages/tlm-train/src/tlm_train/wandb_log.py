"""Weights & Biases, kept from ever stopping a run, or delaying it by more than seconds."""

import importlib.util
import netrc
import os
import socket
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

Mode = Literal["auto", "online", "offline", "disabled"]

_ANSWER_SECONDS = 1.0
_INIT_SECONDS = 8.0
# Offline nothing waits for a network, only for wandb to start on a machine that may be busy.
_OFFLINE_INIT_SECONDS = 60.0
_FINISH_SECONDS = 30.0


class WandbLog:
    """One run at Weights & Biases.

    A failure of wandb is said once and ends the logging to it, never the training.

    Args:
        run: What `wandb.init` returned.
        say: Prints a line to the user.
    """

    def __init__(self, run: Any, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say

    def log(self, row: dict[str, Any]) -> None:
        """Send a row of metrics; its `step` is wandb's step."""
        if self._run is None:
            return
        try:
            self._run.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])
        except Exception as error:
            self._say(f"wandb failed and is off for the rest of this run: {error}")
            self._run = None

    def finish(self) -> None:
        """End the run, waiting a bounded time for what is still to be sent."""
        if self._run is None:
            return
        try:
            self._run.finish()
        except Exception as error:
            self._say(f"wandb did not finish: {error}")
        self._run = None


def resolve_mode(mode: Mode) -> Mode:
    """Find out where metrics can go, within a second and with no question to the user.

    Args:
        mode: `auto` is what the environment variable WANDB_MODE says, else: disabled where wandb
            is not installed or there is no login; online where its server answers within a second;
            else offline.

    Returns:
        `online`, `offline` or `disabled`.

    Raises:
        ValueError: `online` or `offline` is asked for and wandb is not installed, or `online`
            without a login.
    """
    installed = importlib.util.find_spec("wandb") is not None
    if mode == "auto":
        asked = os.environ.get("WANDB_MODE", "")
        if not installed or asked == "disabled":
            return "disabled"
        if asked == "offline":
            return "offline"
        if not _logged_in():
            return "disabled"
        return "online" if _answers() else "offline"
    if mode == "disabled":
        return mode
    if not installed:
        raise ValueError(
            f"log.wandb={mode} needs the wandb package: pip install 'tlm-train[wandb]', or set "
            "log.wandb to disabled"
        )
    if mode == "online" and not _logged_in():
        raise ValueError(
            "log.wandb=online needs a login: run `wandb login` or set WANDB_API_KEY, or set "
            "log.wandb to offline"
        )
    return mode


def start_wandb(
    mode: Mode,
    *,
    project: str,
    name: str,
    folder: Path,
    config: dict[str, Any],
    say: Callable[[str], None],
) -> WandbLog | None:
    """Open a run at Weights & Biases, or return None where it is off.

    A server that does not take the run within a few seconds gets it offline, to be sent later.

    Args:
        mode: What `resolve_mode` returned.
        project: The project that the run appears under.
        name: The run's name.
        folder: The run's folder; `wandb/` is put there, with the id that a resumed run keeps.
        config: The run's config and architecture.
        say: Prints a line to the user.
    """
    if mode == "disabled":
        return None
    import wandb

    try:
        run = wandb.init(
            mode=mode,  # type: ignore[arg-type]
            project=project,
            name=name,
            id=_run_id(folder),
            resume="allow",
            dir=folder,
            config=config,
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_INIT_SECONDS if mode == "online" else _OFFLINE_INIT_SECONDS,
                finish_timeout=_FINISH_SECONDS,
            ),
        )
    except Exception as error:
        # What a failed start leaves running keeps the id to itself.
        wandb.teardown()
        if mode == "offline":
            say(f"wandb failed and is off for this run: {error}")
            return None
        say(f"wandb did not take the run, logging offline: {error}")
        return start_wandb(
            "offline", project=project, name=name, folder=folder, config=config, say=say
        )
    if mode == "online":
        say(f"wandb: {run.url}")
    else:
        say(f"wandb: offline, later: wandb sync {Path(run.dir).parent}")
    return WandbLog(run, say)


def _run_id(folder: Path) -> str:
    """Return the id of the run in `folder`, the same one when it is resumed."""
    file = folder / "wandb" / "run-id.txt"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text()


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _logged_in() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(_server()).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _answers() -> bool:
    url = urlsplit(_server())
    port = url.port or (443 if url.scheme == "https" else 80)
    answered = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection((url.hostname or "", port), _ANSWER_SECONDS).close()
            answered.set()
        except OSError:
            pass

    # Looking a name up has no timeout of its own, so the wait is for a thread.
    threading.Thread(target=connect, daemon=True).start()
    return answered.wait(_ANSWER_SECONDS)
