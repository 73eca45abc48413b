import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm


def with_random_gain(norm):
    torch.nn.init.normal_(norm.weight, mean=1.0)
    return norm


@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 16),
    st.sampled_from([1e-3, 1.0, 1e3]),
    st.sampled_from([1e-5, 1e-2]),
)
def test_equals_torch(leading, d_model, size, eps):
    norm = with_random_gain(RMSNorm(d_model, eps))
    x = size * torch.randn(*leading, d_model)
    torch.testing.assert_close(norm(x), F.rms_norm(x, (d_model,), norm.weight, eps))


def test_equals_hugging_face():
    norm = with_random_gain(RMSNorm(32))
    theirs = LlamaRMSNorm(32, eps=1e-5)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(norm(x), theirs(x))


def test_gradient():
    norm = with_random_gain(RMSNorm(6, dtype=torch.float64))
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(norm, x)


def test_zeros_have_a_finite_gradient():
    x = torch.zeros(2, 4, requires_grad=True)
    RMSNorm(4)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1e-5**-0.5))


def test_half_precision_is_computed_in_float32():
    norm = RMSNorm(64)
    x = 300 * torch.randn(4, 64).to(torch.float16)  # squares are beyond float16
    assert norm(x).dtype == torch.float16
    torch.testing.assert_close(norm(x), norm(x.float()).to(torch.float16))


def test_starts_as_ones_on_its_device_and_type():
    assert torch.equal(RMSNorm(3, dtype=torch.bfloat16).weight, torch.ones(3, dtype=torch.bfloat16))
    assert RMSNorm(3, device="meta").weight.device.type == "meta"


@pytest.mark.parametrize(("d_model", "eps"), [(0, 1e-5), (4, 0.0)])
def test_out_of_range(d_model, eps):
    with pytest.raises(ValueError, match=f"{d_model=} and {eps=} must be positive"):
        RMSNorm(d_model, eps)


def test_printed():
    assert str(RMSNorm(4)) == "RMSNorm(d_model=4, eps=1e-05)"
