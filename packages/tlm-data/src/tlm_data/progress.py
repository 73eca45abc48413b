"""What long work shows while it goes: one live line in a terminal, plain lines elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_PLAIN_SECONDS = 5.0


class ProgressDisplay:
    """The display of how far the stages of a piece of work are.

    Use it as a context manager.

    Args:
        console: Where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Progress(
            TextColumn("[bold]{task.description}"),
            # All facts fit into 80 columns; what is left is the bar's.
            BarColumn(bar_width=None if console.width > 100 else 8),
            _Facts(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: Task | None = None
        self._last_plain = self._started = 0.0
        self._done_before = 0
        self._said_end = False

    def __enter__(self) -> "ProgressDisplay":
        """Start the live display."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take the live display away."""
        self._live.stop()

    def say(self, text: str) -> None:
        """Print a line above the live display."""
        self._live.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def update(self, stage: str, done: int, total: int, facts: str = "") -> None:
        """Show how far a stage is.

        Args:
            stage: Its name; a new name starts a new line.
            done: How much is done.
            total: Of how much.
            facts: What to show beside it, such as the loss.
        """
        if self._task is None or self._task.description != stage:
            if self._task is not None:
                self._live.remove_task(self._task.id)
            number = self._live.add_task(stage, total=total)
            self._task = next(task for task in self._live.tasks if task.id == number)
            self._last_plain = self._started = time.monotonic()
            self._done_before = done
            self._said_end = False
        self._live.update(self._task.id, completed=done, total=total, facts=facts)
        at_end = done == total and not self._said_end
        is_due = done != total and time.monotonic() - self._last_plain > _PLAIN_SECONDS
        if not self.console.is_terminal and (at_end or is_due):
            self._said_end = at_end
            self._last_plain = time.monotonic()
            left = self._left(done, total)
            self.say(f"{stage}: {done / max(total, 1):4.0%}  {facts}{left}".rstrip())

    def _left(self, done: int, total: int) -> str:
        """Say how long the stage will take from now on, once that can be told."""
        if done in (self._done_before, total):
            return ""
        rate = (done - self._done_before) / (time.monotonic() - self._started)
        minutes, seconds = divmod(round((total - done) / rate), 60)
        hours, minutes = divmod(minutes, 60)
        return f"  {f'{hours}:{minutes:02}' if hours else minutes}:{seconds:02} left"


class _Facts(ProgressColumn):
    def render(self, task: Task) -> Text:
        facts = task.fields.get("facts") or f"{task.percentage:3.0f}%"
        return Text(facts, no_wrap=True)
