"""Weights & Biases, kept from ever stopping or delaying a run."""

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
_INIT_SECONDS = 20.0
_FINISH_SECONDS = 60.0


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

    Args:
        mode: `auto` is what the environment variable WANDB_MODE says, else: disabled where
            wandb is not installed or there is no login; online where its server answers within a
            second; else offline. It never asks for a login.
        project: The project that the run appears under.
        name: The run's name.
        folder: The run's folder; `wandb/` is put there, with the id that a resumed run keeps.
        config: The run's config and architecture.
        say: Prints a line to the user.

    Raises:
        ValueError: `online` or `offline` is asked for and wandb is not installed, or
            `online` without a login.
    """
    chosen = _resolve(mode)
    if chosen == "disabled":
        return None
    import wandb

    def init(chosen_mode: str) -> Any:
        return wandb.init(
            mode=chosen_mode,  # type: ignore[arg-type]
            project=project,
            name=name,
            id=_run_id(folder),
            resume="allow",
            dir=folder,
            config=config,
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=_INIT_SECONDS,
                finish_timeout=_FINISH_SECONDS,
            ),
        )

    try:
        run = init(chosen)
    except Exception as error:
        if chosen == "offline":
            say(f"wandb failed and is off for this run: {error}")
            return None
        say(f"wandb could not be reached, logging offline: {error}")
        return start_wandb(
            "offline",
            project=project,
            name=name,
            folder=folder,
            config=config,
            say=say,
        )
    say(
        f"wandb: {run.url}"
        if chosen == "online"
        else f"wandb: offline, later: wandb sync {run.dir}"
    )
    return WandbLog(run, say)


def _run_id(folder: Path) -> str:
    """Return the id of the run in `folder`, the same one when it is resumed."""
    file = folder / "wandb" / "run-id.txt"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(uuid.uuid4().hex[:12])
    return file.read_text()


def _resolve(mode: Mode) -> Mode:
    installed = importlib.util.find_spec("wandb") is not None
    if mode == "auto":
        asked = os.environ.get("WANDB_MODE", "")
        if asked in ("online", "offline", "disabled"):
            mode = asked  # type: ignore[assignment]
        elif not installed or not _logged_in():
            return "disabled"
        else:
            return "online" if _answers() else "offline"
        if not installed:
            return "disabled"
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
