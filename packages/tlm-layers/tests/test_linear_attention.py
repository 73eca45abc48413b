import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import (
    LinearAttention,
    StridedAttention,
    causal_mask,
    document_mask,
    document_runs,
    linear_attention_recurrent,
    scaled_dot_product_attention,
    strided_mask,
)
from torch.utils.flop_counter import FlopCounterMode

leadings = st.lists(st.integers(1, 3), max_size=3)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])
lengths = st.one_of(st.integers(1, 20), st.sampled_from([63, 64, 65, 128, 150, 300]))


def by_weights(q, k, v, mask):
    """Equation 9 of Katharopoulos et al. 2020 with the kernel of its equation 7, under a mask."""
    group = q.shape[-3] // k.shape[-3]
    k, v = (x.repeat_interleave(group, -3) for x in (k, v))
    weights = (F.elu(q) + 1) @ (F.elu(k) + 1).mT * mask.unsqueeze(-3)
    return weights / weights.sum(-1, keepdim=True) @ v


@given(leadings, st.integers(1, 3), st.integers(1, 3), lengths, st.integers(1, 9), dtypes)
def test_equals_its_weights(check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype):
    sizes = leading[:2], num_kv_heads, group, seq, head_dim, dtype
    check_pattern(LinearAttention(), *sizes, mask=causal_mask(seq), plain=by_weights)


@given(
    leadings,
    st.integers(1, 2),
    st.integers(1, 3),
    lengths,
    st.integers(1, 9),
    dtypes,
    st.sampled_from([0.02, 0.1, 0.5]),
)
def test_documents_equal_their_weights(
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype, cuts
):
    leading = leading[:2]
    documents = (torch.rand(*leading, seq) < cuts).cumsum(-1)
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    mask = causal_mask(seq) & document_mask(documents)
    check_pattern(LinearAttention(), *sizes, mask=mask, plain=by_weights, documents=documents)


@settings(max_examples=10)
@given(
    st.lists(st.sampled_from([1, 30, 64, 1000, 4096, 5000]), min_size=1, max_size=4),
    st.integers(0, 64),
)
def test_documents_of_many_chunks_are_as_if_alone(lengths, first):
    lengths = [first, *lengths] if first else lengths
    q, k, v = torch.randn(3, 1, 2, sum(lengths), 4, dtype=torch.float64)
    documents = torch.repeat_interleave(torch.tensor(lengths))[None]
    out = LinearAttention()(q, k, v, documents)
    rows = (x.split(lengths, dim=-2) for x in (q, k, v))
    alone = [LinearAttention()(*parts) for parts in zip(*rows, strict=True)]
    torch.testing.assert_close(out, torch.cat(alone, dim=-2))


@given(leadings, st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))
def test_the_recurrent_form_equals_its_weights(leading, seq, head_dim, d_v):
    q, k = torch.randn(2, *leading, seq, head_dim, dtype=torch.float64)
    v = torch.randn(*leading, seq, d_v, dtype=torch.float64)
    expected = by_weights(*(x.unsqueeze(-3) for x in (q, k, v)), causal_mask(seq)).squeeze(-3)
    torch.testing.assert_close(linear_attention_recurrent(q, k, v), expected)


def test_chunks_equal_the_recurrent_form():
    q, k, v = torch.randn(3, 2, 3, 200, 8)
    out = linear_attention_recurrent(q, k, v)
    torch.testing.assert_close(LinearAttention()(q, k, v), out, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_nothing(leading):
    q, k = torch.randn(*leading, 4, 0, 8), torch.randn(*leading, 2, 0, 8)
    assert LinearAttention()(q, k, k).shape == q.shape
    assert linear_attention_recurrent(q, q, q).shape == q.shape


@pytest.mark.parametrize("packed", [False, True])
def test_time_and_memory_grow_with_seq(record_allocations, packed):
    def cost(seq):
        q, k, v = torch.randn(3, 1, 2, seq, 8)
        documents = document_runs(torch.arange(seq) // 100)[None] if packed else None
        q.requires_grad_()
        with FlopCounterMode(display=False) as flops, record_allocations() as allocations:
            LinearAttention()(q, k, v, documents).sum().backward()
        return flops.get_total_flops(), allocations.total_bytes, allocations.largest

    flops, total_bytes, largest = cost(2048)
    assert largest < 2048 * 2048 // 8
    twice = cost(4096)
    # Documents are told apart by masks of chunks × chunks, up to 64, which is little beside.
    rounding = 0.02 if packed else 0
    assert twice[0] == pytest.approx(2 * flops, rel=rounding)
    assert flops > 0
    assert twice[1] == pytest.approx(2 * total_bytes, rel=0.02)
    assert twice[2] == 2 * largest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_division_by_nothing(dtype):
    q, k, v = torch.randn(3, 1, 1, 70, 4, dtype=dtype)
    q[:, :, ::2] = -1e4  # their features are zeros
    q.requires_grad_()
    out = LinearAttention()(q, k, v)
    assert not out[:, :, ::2].any()
    (1000 * out).sum().backward()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_smallest_weights_still_sum_to_one(dtype):
    least = torch.tensor(torch.finfo(dtype).eps / 2, dtype=dtype)
    q = torch.full((1, 1, 3, 1), least.log().item(), dtype=dtype)
    assert torch.equal(F.elu(q) + 1, least.expand_as(q))
    v = torch.ones_like(q)
    torch.testing.assert_close(LinearAttention()(q, q, v), v)


def test_long_sums_are_not_in_half_precision():
    q, k, v = torch.randn(3, 1, 1, 5000, 4)
    half = [x.to(torch.bfloat16) for x in (q, k, v)]
    exact = linear_attention_recurrent(*(x.double() for x in half))
    torch.testing.assert_close(LinearAttention()(*half).double(), exact, rtol=4e-3, atol=1e-4)


@pytest.mark.parametrize("pattern", [LinearAttention(), StridedAttention(2)])
def test_autocast_does_not_round_what_is_computed_in_float32(pattern):
    q, k, v = torch.randn(3, 1, 2, 9, 4)
    expected = pattern(q, k, v)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(pattern(q, k, v), expected)
        mask = strided_mask(9, 2)
        plain = scaled_dot_product_attention(q, k, v, mask)
    torch.testing.assert_close(plain, scaled_dot_product_attention(q, k, v, mask))


def test_the_recurrent_form_gives_zeros_where_there_are_no_features():
    q = torch.full((1, 3, 4), -40.0)
    out = linear_attention_recurrent(q, q, torch.ones(1, 3, 4))
    torch.testing.assert_close(out, LinearAttention()(q, q, torch.ones(1, 3, 4)))
    assert not out.any()
