"""Reading JSON that may be damaged: messages say what is wrong, and where."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def read_text(path: str | os.PathLike[str]) -> str:
    r"""Read a UTF-8 file, with line ends turned into `\\n`.

    Raises:
        ValueError: if it is not UTF-8; the message has the file and the byte offset.
    """
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{os.fspath(path)}: not UTF-8 at byte {error.start}: {error.reason}"
        ) from None
    return text.replace("\r\n", "\n") if "\r" in text else text


def parse_json(text: str, name: str, *, unique_keys: bool = True) -> Any:
    """Parse JSON.

    Args:
        text: the file's content.
        name: the file's name, for messages.
        unique_keys: whether to refuse an object that has a key twice, of which Python's parser
            would keep the last.

    Raises:
        ValueError: if it is not JSON; the message has the name and the place.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except RecursionError:
        raise ValueError(f"{name}: not a tokenizer: nested too deep") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: not JSON: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        key, first, second = _first_repeated(pairs)
        raise ValueError(f"{brief(key)} comes twice, as {brief(first)} and {brief(second)}")
    return result


def _first_repeated(pairs: Iterable[tuple[str, Any]]) -> tuple[str, Any, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            return key, seen[key], value
        seen[key] = value
    raise AssertionError("a key is repeated")


def expect(value: Any, kind: type, where: str) -> Any:
    """Refuse a value of another type.

    Args:
        value: what JSON has.
        kind: dict, list, str, int or bool.
        where: the file and the place in it.

    Returns:
        The value.
    """
    if type(value) is not kind:
        raise ValueError(f"{where}: {brief(value)} must be {_JSON_NAMES[kind]}")
    return value


def check_option(part: dict[str, Any], option: str, allowed: tuple[Any, ...], where: str) -> None:
    """Refuse an option whose value is not among those allowed; None stands for its absence."""
    value = part.get(option)
    if not any(value is known or (type(value), value) == (type(known), known) for known in allowed):
        raise ValueError(
            f"{where}: {option}={brief(value)} is not supported, only "
            f"{' or '.join(json.dumps(value) for value in allowed)}"
        )


_JSON_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "an integer",
    bool: "true or false",
}


def brief(value: Any) -> str:
    """Write a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
