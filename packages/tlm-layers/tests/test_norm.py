import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import LayerNorm, RMSNorm
from tlm_layers.norm import make_norm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

leadings = st.lists(st.integers(1, 4), max_size=3)
scales = st.sampled_from([1e-3, 1.0, 1e3])
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def with_random_weights(norm):
    for weight in norm.parameters():
        torch.nn.init.normal_(weight, mean=1.0)
    return norm


def rms_norm(x, norm):
    return F.rms_norm(x, (norm.d_model,), norm.weight, norm.eps)


def layer_norm(x, norm):
    return F.layer_norm(x, (norm.d_model,), norm.weight, norm.bias, norm.eps)


KINDS = {"rmsnorm": (RMSNorm, rms_norm), "layernorm": (LayerNorm, layer_norm)}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@given(leadings, st.integers(1, 16), scales, st.sampled_from([1e-5, 1e-2]))
def test_equals_torch(kind, leading, d_model, scale, eps):
    make, reference = KINDS[kind]
    norm = with_random_weights(make(d_model, eps))
    x = scale * torch.randn(*leading, d_model)
    torch.testing.assert_close(norm(x), reference(x, norm))
    with torch.no_grad():
        torch.testing.assert_close(norm(x), reference(x, norm))


def assert_rounded_as_the_formula_is(out, x, norm):
    """Hold a result to numpy's longer numbers, since torch's float64 is rounded as ours is."""
    x, weight = (t.detach().numpy().astype(np.longdouble) for t in (x, norm.weight))
    expected = x / np.sqrt((x * x).mean(-1, keepdims=True) + np.longdouble(norm.eps)) * weight
    # Half an eps for each square, sum, quotient and product; the root halves those before it.
    bound = (2.5 + norm.d_model / 4) * torch.finfo(out.dtype).eps
    assert (np.abs(out.detach().numpy() - expected) <= bound * np.abs(expected)).all()


@given(
    leadings,
    st.integers(1, 16),
    scales,
    st.sampled_from(DTYPES),
    st.sampled_from([None, torch.float32, torch.bfloat16]),
    st.booleans(),
)
def test_rms_norm_and_its_gradients_equal_torchs_in_float64(
    leading, d_model, scale, dtype, weight_dtype, dense
):
    norm = with_random_weights(RMSNorm(d_model, dtype=weight_dtype or dtype))
    exact = RMSNorm(d_model, dtype=torch.float64)
    exact.load_state_dict(norm.state_dict())
    x = (scale * torch.randn(*leading, d_model)).to(dtype)
    if not dense:
        x = torch.stack((x, x), dim=-1)[..., 0]
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()
    out, expected = norm(x), rms_norm(wide, exact)
    assert out.dtype == dtype
    # Half types are rounded at the end, and once or twice on the way.
    eps = torch.finfo(dtype).eps
    if dtype in (torch.float32, torch.float64):
        assert_rounded_as_the_formula_is(out, x, exact)
    else:
        torch.testing.assert_close(out.double(), expected, rtol=2 * eps, atol=0)
    grad = torch.randn_like(out)
    out.backward(grad)
    expected.backward(grad.double())
    # Terms of this size cancel each other in the gradient by x.
    rstd = (wide.square().mean(-1, keepdim=True) + exact.eps).rsqrt()
    size = rstd * (grad.double() * exact.weight).norm(dim=-1, keepdim=True)
    assert ((x.grad.double() - wide.grad).abs() <= 4 * eps * size).all()
    # The gradient by the gain is a sum over rows, of terms of this size.
    size = (grad * wide * rstd).abs().reshape(-1, d_model).sum(0)
    eps = max(eps, torch.finfo(norm.weight.dtype).eps)
    assert norm.weight.grad.dtype == norm.weight.dtype
    assert ((norm.weight.grad.double() - exact.weight.grad).abs() <= 4 * eps * size).all()


@given(leadings, st.integers(1, 16), st.sampled_from(DTYPES), st.sampled_from(DTYPES))
def test_layer_norm_casts_its_weights(leading, d_model, dtype, weight_dtype):
    norm = with_random_weights(LayerNorm(d_model, dtype=weight_dtype))
    x = torch.randn(*leading, d_model).to(dtype)
    out = norm(x)
    assert torch.equal(out, layer_norm(x, norm.to(dtype)))


def test_equals_hugging_face():
    norm = with_random_weights(RMSNorm(32))
    theirs = LlamaRMSNorm(32, eps=1e-5)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 5, 32)
    torch.testing.assert_close(norm(x), theirs(x))


def test_layer_norm_exchanges_weights_with_torchs_module():
    norm = with_random_weights(LayerNorm(32, eps=1e-3))
    theirs = torch.nn.LayerNorm(32, eps=1e-3)
    theirs.load_state_dict(norm.state_dict())
    x = torch.randn(2, 5, 32)
    assert torch.equal(norm(x), theirs(x))


@kinds
def test_gradient(kind):
    norm = with_random_weights(KINDS[kind][0](6, dtype=torch.float64))
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def forward(x, *weights):
        return torch.func.functional_call(
            norm, dict(zip(norm.state_dict(), weights, strict=True)), x
        )

    assert torch.autograd.gradcheck(forward, (x, *norm.parameters()))


@kinds
@pytest.mark.parametrize("dtype", DTYPES)
def test_only_what_is_asked_for_gets_a_gradient(kind, dtype):
    norm = with_random_weights(KINDS[kind][0](6, dtype=dtype))
    x = torch.randn(3, 6, dtype=dtype, requires_grad=True)
    norm(x).sum().backward()
    both = x.grad, norm.weight.grad
    norm.zero_grad()
    norm(x.detach()).sum().backward()
    assert torch.equal(norm.weight.grad, both[1])
    norm.zero_grad()
    norm.requires_grad_(False)
    x.grad = None
    norm(x).sum().backward()
    assert torch.equal(x.grad, both[0])
    assert norm.weight.grad is None
    assert not norm(x.detach()).requires_grad


@kinds
def test_gradients_of_each_row_by_vmap(kind):
    norm = with_random_weights(KINDS[kind][0](6))
    weights = {name: weight.detach() for name, weight in norm.named_parameters()}
    x = torch.randn(5, 3, 6)

    def loss(weights, row):
        return torch.func.functional_call(norm, weights, row).square().sum()

    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for row in range(5):
        norm.zero_grad()
        norm(x[row]).square().sum().backward()
        for name, weight in norm.named_parameters():
            torch.testing.assert_close(rows[name][row], weight.grad)
    torch.testing.assert_close(torch.func.vmap(norm)(x), norm(x))


def test_second_derivatives():
    norm = RMSNorm(6, dtype=torch.float64)
    torch.nn.init.normal_(norm.weight, mean=1.0)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(norm, x)


def test_gradients_of_wide_rows_do_not_overflow_in_float16():
    x = torch.randn(2, 1024).to(torch.float16).requires_grad_()
    RMSNorm(1024)(x).backward(torch.full((2, 1024), 100.0, dtype=torch.float16))
    assert x.grad.isfinite().all()


def test_zeros_have_a_finite_gradient():
    x = torch.zeros(2, 4, requires_grad=True)
    RMSNorm(4)(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.full_like(x, 1e-5**-0.5))


@kinds
@pytest.mark.parametrize("grad", [True, False])
def test_half_precision_is_computed_in_float32(kind, grad):
    norm = KINDS[kind][0](64)
    x = 300 * torch.randn(4, 64).to(torch.float16)  # squares are beyond float16
    with torch.set_grad_enabled(grad):
        assert norm(x).dtype == torch.float16
        torch.testing.assert_close(norm(x), norm(x.float()).to(torch.float16))


@kinds
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_it_is_exact_up_to_rounding(kind, grad, dtype):
    norm = with_random_weights(KINDS[kind][0](64))
    x = torch.randn(4, 64).to(dtype)
    with torch.set_grad_enabled(grad), torch.autocast("cpu", torch.bfloat16):
        out = norm(x)
    torch.testing.assert_close(out.float(), norm(x.float()), rtol=8e-3, atol=2e-2)


@kinds
def test_starts_as_ones_on_its_device_and_type(kind):
    norm = make_norm(kind, 3, dtype=torch.bfloat16)
    assert type(norm) is KINDS[kind][0]
    assert torch.equal(norm.weight, torch.ones(3, dtype=torch.bfloat16))
    assert {p.device.type for p in make_norm(kind, 3, device="meta").parameters()} == {"meta"}


@kinds
def test_reset_parameters_starts_afresh(kind):
    norm = with_random_weights(make_norm(kind, 3, 1e-3))
    norm.reset_parameters()
    x = torch.randn(5, 3)
    assert torch.equal(norm(x), make_norm(kind, 3, 1e-3)(x))


def test_none_is_the_identity():
    x = torch.randn(3, 4)
    norm = make_norm("none", 4)
    assert norm(x) is x
    assert not norm.state_dict()


@kinds
@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows(kind, shape):
    x = torch.zeros(shape, requires_grad=True)
    norm = make_norm(kind, 4)
    norm(x).sum().backward()
    assert x.grad.shape == shape
    assert torch.equal(norm.weight.grad, torch.zeros(4))


@kinds
@pytest.mark.parametrize(("d_model", "eps"), [(0, 1e-5), (4, 0.0)])
def test_out_of_range(kind, d_model, eps):
    with pytest.raises(ValueError, match=re.escape(f"{d_model=} and {eps=} must be positive")):
        make_norm(kind, d_model, eps)


@kinds
def test_printed(kind):
    assert str(make_norm(kind, 4)) == f"{KINDS[kind][0].__name__}(d_model=4, eps=1e-05)"
