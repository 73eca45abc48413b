import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import clip_grad_norm, grad_norm
from torch import nn


def parameters_with_gradients(shapes, seed, size):
    generator = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)
    return parameters


shapes = st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=5)


@given(
    shapes,
    st.integers(0, 1000),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.sampled_from([0.0, 0.1, 5.0]),
)
def test_equals_torch(shapes, seed, size, max_norm):
    ours = parameters_with_gradients(shapes, seed, size)
    theirs = parameters_with_gradients(shapes, seed, size)
    norm = clip_grad_norm(ours, max_norm)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, max_norm))
    for a, b in zip(ours, theirs, strict=True):
        # torch divides by norm + eps below the limit too: a part of 1e-6 / norm
        torch.testing.assert_close(a.grad, b.grad, rtol=2e-3, atol=1e-6)


def test_below_the_limit_nothing_changes():
    parameters = parameters_with_gradients([(3, 4)], 0, 1.0)
    before = parameters[0].grad.clone()
    clip_grad_norm(parameters, 100.0)
    assert torch.equal(parameters[0].grad, before)


def test_in_place_and_none_passed_over():
    with_gradient, without = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    grad = with_gradient.grad = torch.tensor([3.0, 4.0])
    norm = clip_grad_norm(iter([without, with_gradient]), 1.0)
    assert norm.item() == 5.0
    assert with_gradient.grad is grad
    torch.testing.assert_close(grad, torch.tensor([0.6, 0.8]))
    assert without.grad is None


def test_eps_is_added_to_the_norm():
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    clip_grad_norm([parameter], 1.0, eps=5.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.3, 0.4]))


def test_no_gradients_at_all():
    assert clip_grad_norm([nn.Parameter(torch.zeros(2))], 1.0).item() == 0.0
    assert clip_grad_norm([], 1.0).item() == 0.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_norm_that_is_not_finite_is_returned_and_spoils_all_as_in_torch(value):
    ours, theirs = (parameters_with_gradients([(3,), (4,)], 0, 1.0) for _ in range(2))
    ours[0].grad[1] = theirs[0].grad[1] = value
    norm = clip_grad_norm(ours, 1.0)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, 1.0), equal_nan=True)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, equal_nan=True)


@pytest.mark.parametrize(("max_norm", "eps"), [(-1.0, 0.0), (1.0, -1.0), (float("nan"), 0.0)])
def test_limits_out_of_range(max_norm, eps):
    with pytest.raises(ValueError, match=f"{max_norm=} and {eps=} must not be negative"):
        clip_grad_norm([], max_norm, eps=eps)


def test_the_kind_of_norm_that_torch_takes_is_not_taken_for_eps():
    with pytest.raises(TypeError, match="positional arguments"):
        clip_grad_norm([], 1.0, 2.0)


def test_one_tensor():
    ours, theirs = (nn.Parameter(torch.zeros(2, 3)) for _ in range(2))
    ours.grad, theirs.grad = torch.full((2, 3), 5.0), torch.full((2, 3), 5.0)
    norm = clip_grad_norm(ours, 1.0)
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(theirs, 1.0))
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_sparse_gradient_is_refused_and_nothing_changes():
    dense, table = nn.Parameter(torch.ones(2)), nn.Embedding(4, 2, sparse=True)
    dense.grad = torch.ones(2)
    table(torch.tensor([1])).sum().backward()
    message = r"clip_grad_norm takes no sparse gradients, and the parameter of shape \(4, 2\)"
    with pytest.raises(TypeError, match=message):
        clip_grad_norm([dense, table.weight], 0.1)
    assert torch.equal(dense.grad, torch.ones(2))


def test_error_if_nonfinite_raises_before_anything_changes():
    parameters = parameters_with_gradients([(3,), (4,)], 0, 1.0)
    parameters[0].grad[1] = float("inf")
    before = parameters[1].grad.clone()
    with pytest.raises(RuntimeError, match="the norm of the gradients is inf, which cannot be"):
        clip_grad_norm(parameters, 0.1, error_if_nonfinite=True)
    assert torch.equal(parameters[1].grad, before)
    parameters[0].grad[1] = 1.0
    clip_grad_norm(parameters, 0.1, error_if_nonfinite=True)
    torch.testing.assert_close(grad_norm(parameters), torch.tensor(0.1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_norm_of_half_types_is_a_float32(dtype):
    parameter = nn.Parameter(torch.zeros(1000, dtype=dtype))
    parameter.grad = torch.full((1000,), 300.0, dtype=dtype)  # its square is above float16's range
    norm = clip_grad_norm([parameter], 1.0)
    assert norm.dtype == torch.float32
    torch.testing.assert_close(norm.item(), 300 * 1000**0.5)
    assert parameter.grad.dtype == dtype
    torch.testing.assert_close(parameter.grad.float().norm().item(), 1.0, rtol=1e-2, atol=0)


def test_gradients_of_several_types():
    parameters = parameters_with_gradients([(3,), (4,)], 0, 1.0)
    parameters.append(nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    parameters[-1].grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    expected = torch.cat([parameter.grad.double() for parameter in parameters]).norm()
    torch.testing.assert_close(clip_grad_norm(parameters, 0.5).double(), expected)
    joint = torch.cat([parameter.grad.double() for parameter in parameters]).norm()
    torch.testing.assert_close(joint.item(), 0.5, rtol=1e-4, atol=0)


def test_grad_norm_changes_nothing():
    parameters = parameters_with_gradients([(3, 4), (2,)], 0, 1.0)
    before = [parameter.grad.clone() for parameter in parameters]
    expected = torch.nn.utils.get_total_norm(before)
    torch.testing.assert_close(grad_norm(iter(parameters)), expected)
    assert all(torch.equal(p.grad, grad) for p, grad in zip(parameters, before, strict=True))
    assert grad_norm([]).item() == 0.0
