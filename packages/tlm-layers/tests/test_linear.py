import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import Linear


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 9), st.integers(1, 9))
def test_equals_torch(leading, in_features, out_features):
    layer = Linear(in_features, out_features)
    x = torch.randn(*leading, in_features)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight))


def test_weights_pass_to_and_from_torch():
    ours, theirs = Linear(5, 3), torch.nn.Linear(5, 3, bias=False)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    ours.load_state_dict(torch.nn.Linear(5, 3, bias=False).state_dict())


def test_initialisation():
    torch.manual_seed(0)
    weight = Linear(400, 600).weight.detach()
    std = math.sqrt(2 / (400 + 600))
    assert weight.abs().max() <= 3 * std
    assert weight.abs().max() > 2.9 * std
    assert weight.mean().abs() < 0.01 * std
    # a normal cut at three standard deviations keeps 0.9866 of its own
    assert weight.std() == pytest.approx(0.9866 * std, rel=0.01)


def test_device_and_type():
    weight = Linear(3, 2, device="meta", dtype=torch.bfloat16).weight
    assert weight.device.type == "meta"
    assert weight.dtype == torch.bfloat16
    assert weight.shape == (2, 3)


@pytest.mark.parametrize("shape", [(0, 3), (3, -1)])
def test_sizes_out_of_range(shape):
    message = f"in_features={shape[0]} and out_features={shape[1]} must be positive"
    with pytest.raises(ValueError, match=message):
        Linear(*shape)


def test_printed():
    assert str(Linear(3, 2)) == "Linear(in_features=3, out_features=2)"
