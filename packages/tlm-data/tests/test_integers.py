from typing import Any

import numpy as np
import pytest
from tlm_data.integers import whole_number


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), np.array(3)])
def test_integers_become_pythons_own(value: Any) -> None:
    assert whole_number("x", value, 0) == 3
    assert type(whole_number("x", value, 0)) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, float("nan"), "3", None, np.array([3])])
def test_what_is_no_integer_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^x=.* must be an integer$"):
        whole_number("x", value, 0)


def test_bounds() -> None:
    assert [whole_number("x", value, 1, 3) for value in (1, 3)] == [1, 3]
    for value in (0, 4, 10**30):
        with pytest.raises(ValueError, match=f"^x={value} must be from 1 to 3$"):
            whole_number("x", value, 1, 3)
    with pytest.raises(ValueError, match=r"^x=-1 must be at least 0$"):
        whole_number("x", -1, 0)
