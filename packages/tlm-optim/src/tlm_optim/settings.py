"""What the settings of a parameter group may be."""

import math
import operator
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor


class Rule(NamedTuple):
    """What values a setting may have."""

    holds: Callable[[Any], bool]
    """Says whether a value is allowed; for one of another type it may raise."""
    words: str
    """The rule as it ends an error message, as in `lr=-1 must be a number, not negative`."""

    def allows(self, value: Any) -> bool:
        """Say whether the setting may have a value, of whatever type."""
        try:
            return self.holds(value)
        except Exception:  # it cannot be compared, counted or taken apart
            return False


def _is_number(value: Any) -> bool:
    """Say whether it is finite, and a number or a tensor of one with no axes."""
    is_one = value.ndim == 0 if isinstance(value, Tensor) else isinstance(value, Real)
    return is_one and bool(-math.inf < value < math.inf)


def _is_not_negative(value: Any) -> bool:
    return _is_number(value) and bool(value >= 0)


def _is_below_one(value: Any) -> bool:
    return _is_not_negative(value) and bool(value < 1)


NOT_NEGATIVE = Rule(_is_not_negative, "must be a finite number, not negative")
NOT_POSITIVE = Rule(
    lambda value: _is_number(value) and bool(value <= 0), "must be a finite number, not positive"
)
AT_LEAST_ONE = Rule(lambda value: bool(value >= 1), "must be a number, at least 1")
BELOW_ONE = Rule(_is_below_one, "must be a number, at least 0 and below 1")
TWO_BELOW_ONE = Rule(
    lambda value: len(value) == 2 and all(map(_is_below_one, value)),
    "must be two numbers, each at least 0 and below 1",
)
EPS_OR_NONE_AND_EPS = Rule(
    lambda value: (
        len(value) == 2
        and (value[0] is None or _is_not_negative(value[0]))
        and _is_not_negative(value[1])
    ),
    "must be two finite numbers, not negative, of which the first may be None",
)
THREE_NUMBERS = Rule(
    lambda value: len(value) == 3 and all(map(_is_number, value)), "must be three finite numbers"
)
COUNT = Rule(lambda value: operator.index(value) >= 1, "must be a whole number, at least 1")
TRUE_OR_FALSE = Rule(lambda value: isinstance(value, bool), "must be True or False")


def one_of(*choices: str | None) -> Rule:
    """Make the rule that a setting is one of a few names."""
    return Rule(lambda value: value in choices, f"must be one of {', '.join(map(repr, choices))}")


# Choices of a kernel in torch's optimizers, and the notes of schedulers: nothing that changes a
# step of ours.
_PASSED_OVER = {
    *("params", "param_names", "name", "foreach", "fused", "capturable"),
    *("initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"),
}


def check_settings(
    optimizer: str, group: Mapping[str, Any], rules: Mapping[str, Rule], fixed: Mapping[str, Any]
) -> None:
    """Refuse a group with a setting that is missing, unknown, or out of its range.

    Args:
        optimizer: its name, for the messages.
        group: a parameter group, with every setting.
        rules: of each setting that the optimizer has.
        fixed: options of torch's optimizer that would change the step, with the value that ours
            has.

    Raises:
        ValueError: as said; the message names the setting.
    """
    for name in rules:
        if name not in group:
            raise ValueError(
                f"a group without {name}: is it of another optimizer than {optimizer}?"
            )
    for name, value in group.items():
        if name in rules:
            if not rules[name].allows(value):
                raise ValueError(f"{name}={value!r} {rules[name].words}")
        elif name in fixed:
            if value != fixed[name]:
                raise ValueError(f"{name}={value}: {optimizer} here has {name}={fixed[name]} only")
        elif name not in _PASSED_OVER:
            raise ValueError(
                f"{name}={value!r} is not an option of {optimizer}: it has {', '.join(rules)}"
            )
