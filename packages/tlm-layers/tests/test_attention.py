import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import (
    MultiHeadSelfAttention,
    RotaryPositionalEmbedding,
    scaled_dot_product_attention,
)

sizes = st.integers(1, 7)


@given(st.lists(st.integers(1, 3), max_size=3), sizes, sizes, sizes, sizes, st.booleans())
def test_plain_form_equals_torch(leading, queries, keys, d_k, d_v, masked):
    q, k = torch.randn(*leading, queries, d_k), torch.randn(*leading, keys, d_k)
    v = torch.randn(*leading, keys, d_v)
    mask = torch.rand(*leading, queries, keys) > 0.5 if masked else None
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v, mask),
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    )


def test_a_query_that_sees_nothing_gets_zeros_and_no_nan_gradient():
    q, k, v = torch.randn(3, 2, 4, requires_grad=True).unbind()
    mask = torch.tensor([[True, True], [False, False]])
    out = scaled_dot_product_attention(q, k, v, mask)
    assert torch.equal(out[1], torch.zeros(4))
    grads = torch.autograd.grad(out.sum(), (q, k, v))
    assert all(grad.isfinite().all() for grad in grads)


def test_mask_must_be_bool():
    q = torch.randn(2, 4)
    message = r"mask is torch.float32; it must be torch.bool, True where a query may see"
    with pytest.raises(TypeError, match=message):
        scaled_dot_product_attention(q, q, q, torch.ones(2, 2))


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 9), st.booleans())
def test_layer_equals_the_plain_form_head_by_head(leading, seq, with_rope):
    num_heads, head_dim = 3, 4
    rope = RotaryPositionalEmbedding(10000.0, head_dim, max_seq_len=9) if with_rope else None
    attn = MultiHeadSelfAttention(num_heads * head_dim, num_heads, rope)
    x = torch.randn(*leading, seq, num_heads * head_dim)
    causal = torch.ones(seq, seq, dtype=torch.bool).tril()
    heads = []
    for head in range(num_heads):
        rows = slice(head * head_dim, (head + 1) * head_dim)
        q, k, v = (x @ p.weight[rows].T for p in (attn.q_proj, attn.k_proj, attn.v_proj))
        if rope is not None:
            q, k = rope(q), rope(k)
        heads.append(scaled_dot_product_attention(q, k, v, causal))
    expected = torch.cat(heads, dim=-1) @ attn.output_proj.weight.T
    torch.testing.assert_close(attn(x), expected, rtol=1e-4, atol=1e-5)


def test_equals_the_layer_of_torch():
    attn, theirs = MultiHeadSelfAttention(12, 3), torch.nn.MultiheadAttention(12, 3, bias=False)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(
            torch.cat([p.weight for p in (attn.q_proj, attn.k_proj, attn.v_proj)])
        )
        theirs.out_proj.weight.copy_(attn.output_proj.weight)
    x = torch.randn(7, 2, 12)  # (seq, batch, d_model), as torch's layer has it
    hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=hidden)
    torch.testing.assert_close(attn(x.transpose(0, 1)).transpose(0, 1), expected)


def test_positions_differ_between_rows():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=32)
    attn = MultiHeadSelfAttention(8, 2, rope)
    x = torch.randn(2, 5, 8)
    positions = torch.stack((torch.arange(5), 3 * torch.arange(5)))
    rows = torch.stack([attn(x[row], positions[row]) for row in range(2)])
    torch.testing.assert_close(attn(x, positions), rows)
    torch.testing.assert_close(attn(x, torch.arange(5)), attn(x))
    assert not torch.allclose(attn(x, positions)[1], attn(x)[1])


def test_shifted_positions_change_nothing():
    attn = MultiHeadSelfAttention(8, 2, RotaryPositionalEmbedding(10000.0, 4, max_seq_len=32))
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(attn(x, torch.arange(5) + 20), attn(x), rtol=1e-4, atol=1e-5)


def test_positions_without_rope():
    message = "token_positions have no use without rope: give rope, or leave them"
    with pytest.raises(ValueError, match=message):
        MultiHeadSelfAttention(8, 2)(torch.randn(5, 8), torch.arange(5))


@pytest.mark.parametrize(("d_model", "num_heads"), [(8, 3), (8, 0)])
def test_heads_must_divide(d_model, num_heads):
    with pytest.raises(ValueError, match=f"{d_model=} must be divisible by {num_heads=}"):
        MultiHeadSelfAttention(d_model, num_heads)


def test_rope_must_fit():
    rope = RotaryPositionalEmbedding(10000.0, 6, max_seq_len=8)
    with pytest.raises(ValueError, match=r"rope\.d_k=6 must be d_model / num_heads = 4"):
        MultiHeadSelfAttention(8, 2, rope)


def test_device_and_type():
    attn = MultiHeadSelfAttention(8, 2, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in attn.parameters()} == {("meta", torch.bfloat16)}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [True, False])
def test_plain_form_of_half_types_equals_torch(dtype, masked):
    q, k, v = torch.randn(3, 2, 5, 40, 64).to(dtype)
    mask = torch.rand(40, 40) > 0.5 if masked else None
    ours = scaled_dot_product_attention(q, k, v, mask)
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(ours.double(), exact, rtol=eps / 1.9, atol=1e-6)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs, rtol=2 * eps, atol=eps)


def test_scores_beyond_float16():
    q = torch.full((3, 128), 40.0, dtype=torch.float16)
    v = torch.randn(3, 4).half()
    torch.testing.assert_close(
        scaled_dot_product_attention(q, q, v), F.scaled_dot_product_attention(q, q, v)
    )


def test_values_must_be_of_a_floating_type():
    q = torch.randn(2, 4)
    with pytest.raises(TypeError, match=r"v is torch.int64; it must be of a floating type"):
        scaled_dot_product_attention(q, q, torch.ones(2, 4, dtype=torch.int64))


@pytest.mark.parametrize("shape", [(0, 5, 8), (2, 0, 8), (0, 8)])
@pytest.mark.parametrize("with_rope", [True, False])
def test_empty_batches_and_sequences(shape, with_rope):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8) if with_rope else None
    assert MultiHeadSelfAttention(8, 2, rope)(torch.randn(shape)).shape == shape


def test_no_keys_give_zeros():
    q, k, v = torch.randn(2, 4), torch.randn(0, 4), torch.randn(0, 3)
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    )
