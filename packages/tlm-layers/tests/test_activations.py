import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import silu, softmax

shapes = st.lists(st.integers(1, 6), min_size=1, max_size=4)


@given(shapes, st.integers(0, 1000), st.sampled_from([1.0, 100.0, 1e4]), st.data())
def test_softmax_equals_torch(shape, seed, size, data):
    x = size * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    dim = data.draw(st.integers(-len(shape), len(shape) - 1))
    torch.testing.assert_close(softmax(x, dim), F.softmax(x, dim))


@given(shapes, st.integers(0, 1000), st.floats(-1e4, 1e4))
def test_softmax_does_not_see_a_shift(shape, seed, shift):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(softmax(x + shift, 0), softmax(x, 0))


def test_softmax_gradient():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: softmax(x, -1), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_types_stay(dtype):
    x = torch.randn(3, 4, dtype=dtype)
    assert softmax(x, -1).dtype == silu(x).dtype == dtype


@given(shapes, st.integers(0, 1000))
def test_silu_is_its_formula(shape, seed):
    x = 10 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(silu(x), x * torch.sigmoid(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_softmax_of_half_types_equals_torch(dtype):
    x = (3 * torch.randn(20, 3000)).to(dtype)
    expected = F.softmax(x.double(), -1)
    # half a unit in the last place, and float16's subnormals
    torch.testing.assert_close(
        softmax(x, -1).double(), expected, rtol=torch.finfo(dtype).eps / 1.9, atol=3e-8
    )
    torch.testing.assert_close(softmax(x, -1), F.softmax(x, -1))


def test_softmax_of_a_sum_beyond_float16():
    x = torch.zeros(70_000, dtype=torch.float16)
    torch.testing.assert_close(softmax(x, 0), F.softmax(x, 0), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_softmax_of_nothing(shape):
    assert softmax(torch.zeros(shape), -1).shape == shape


def test_softmax_takes_floating_types_only():
    with pytest.raises(TypeError, match=r"x is torch.int64; it must be of a floating type"):
        softmax(torch.arange(3), 0)
