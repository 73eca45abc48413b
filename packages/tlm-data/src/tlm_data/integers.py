"""Whole numbers that callers give, checked where they come in."""

import operator
from typing import Any


def whole_number(name: str, value: Any, at_least: int, at_most: int | None = None) -> int:
    """Return `value` as Python's own integer, which JSON and `pickle` keep as it is.

    Args:
        name: What it is called, for the message.
        value: An integer, of Python or numpy; no boolean and no float.
        at_least: The smallest that is allowed.
        at_most: The largest that is allowed; None for no bound.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is out of bounds.

    >>> import numpy as np
    >>> whole_number("seed", np.int64(3), 0)
    3
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}={value!r} must be an integer") from None
    if number < at_least or (at_most is not None and number > at_most):
        bounds = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        raise ValueError(f"{name}={number} must be {bounds}")
    return number
