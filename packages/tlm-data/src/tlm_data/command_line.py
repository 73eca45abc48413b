"""A command line, parsed by tyro into dataclasses, whose errors are exceptions of one line."""

import contextlib
import difflib
import io
import re
from collections.abc import Sequence
from typing import Any

import tyro

_WRONG_TYPE = re.compile(
    r"(--\S+): no type matching (\S+) could be instantiated from \[(.*?)\]\. Got errors:"
)

_NO_NUMBER = re.compile(
    r"(--\S+): (?:invalid literal for int\(\) with base 10|could not convert string to float): (.*)"
)


def parse_arguments(kind: Any, arguments: Sequence[str], **options: Any) -> Any:
    """Let tyro parse arguments into a dataclass, with its errors as one-line exceptions.

    Args:
        kind: The dataclass, or a union of them.
        arguments: The command line.
        options: For `tyro.cli`.

    Raises:
        ValueError: The arguments are wrong; the message says what and, for a misspelt option,
            which one is near.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(kind, args=list(arguments), **options)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_one_line(errors.getvalue())) from None


def _one_line(box: str) -> str:
    """Return the message of the box that tyro draws around an error."""
    # A title, then parts between rules; the frame is there only where the encoding can draw it.
    rows = [line.strip("│╭╮╰╯ ") for line in box.splitlines()[1:]]
    text = " ".join(row for row in rows if row)
    message, *rest = re.split(r" ?[─-]{9,} ?", re.sub(r"^-{9,} ?", "", text))
    # What is not an option there is the name of a class, which tells a user nothing.
    message = re.sub(r"^Error parsing (?!-)\S+: |^Error parsing ", "", message).strip()
    unknown = re.search(r"Unrecognized options: (--\S+)", " ".join(rest))
    if unknown:
        missing = re.findall(r"(--[\w-]+) ", message)
        likely = difflib.get_close_matches(unknown[1], missing, 1)
        if likely:
            return f"Unrecognized options: {unknown[1]}; did you mean {likely[0]}?"
    if found := _WRONG_TYPE.match(message):
        option, kinds, value = found.groups()
        names = kinds.replace("{None}|", "None or ")
        return f"{option}: {value} is not {names}"
    if found := _NO_NUMBER.match(message):
        return f"{found[1]}: {found[2]} is not a number"
    near = re.search(r"Perhaps you meant:.*?(--\S+)", " ".join(rest))
    commands = re.search(r"Available subcommands: (\w+(?:, \w+)*)", " ".join(rest))
    if near:
        return f"{message}; did you mean {near[1]}?"
    return f"{message}; the commands are {commands[1]}" if commands else message
