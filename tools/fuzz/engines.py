"""Both engines side by side: the same call to each, and the same answer from each."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

# What wrong input may raise (RuntimeError: use by two threads). Anything else, and any difference
# between the engines, is a bug.
ERRORS = (ValueError, TypeError, KeyError, OverflowError, IndexError, RuntimeError)
Say = Callable[[str, object], None]


class MismatchError(Exception):
    """The engines gave different answers."""


class Engines:
    """The core and its pure twin.

    Args:
        core: the module of the one.
        pure: the module of the other.
        say: is told what goes in before each call, as (what it is, value).
    """

    def __init__(self, core: ModuleType, pure: ModuleType, say: Say) -> None:
        self.core, self.pure, self.say = core, pure, say

    def same(self, what: str, call: Callable[[Any], Any], core: Any, pure: Any) -> Any:
        """Return what `call` gives for both objects; an error counts as an answer."""
        left, right = outcome(call, core), outcome(call, pure)
        if left != right:
            raise MismatchError(f"{what}\ncore: {brief(left)}\npure: {brief(right)}")
        return right[1]

    def same_on_text(
        self, what: str, call: Callable[[Any, bytes], Any], core: Any, pure: Any, text: bytes
    ) -> None:
        """Compare on a text; where the answers differ, find a short one on which they do."""

        def differ(text: bytes) -> bool:
            answers = [outcome(lambda one: call(one, text), one) for one in (core, pure)]
            return answers[0] != answers[1]

        self.say(what, text)
        if differ(text):
            short = shortened(text, differ)
            self.same(f"{what} {short!r}", lambda one: call(one, short), core, pure)


def outcome(call: Callable[[Any], Any], argument: Any) -> tuple[str, Any]:
    """Return what a call returned or raised, in a form to compare."""
    try:
        return "returned", call(argument)
    except KeyError as error:
        return "KeyError", error.args
    except ERRORS as error:
        return type(error).__name__, None


def brief(value: object, most: int = 3000) -> str:
    """Return the repr of a value, without its middle if it is long."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def shortened(text: bytes, differ: Callable[[bytes], bool]) -> bytes:
    """Take pieces out of a text as long as `differ` stays true."""
    size = len(text) // 2
    while size:
        place = 0
        while place < len(text):
            shorter = text[:place] + text[place + size :]
            if differ(shorter):
                text = shorter
            else:
                place += size
        size //= 2
    return text


def as_str(text: bytes) -> str | None:
    """Return the text as a str if it is UTF-8."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None
