import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import (
    FullAttention,
    SlidingWindowAttention,
    document_mask,
    document_runs,
    sliding_window_mask,
)
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

leadings = st.lists(st.integers(1, 3), max_size=3)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])


@given(
    leadings,
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 24),
    st.integers(1, 9),
    dtypes,
    st.integers(1, 26),
)
def test_equals_torchs_plain_form(
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype, window_size
):
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    mask = sliding_window_mask(seq, window_size)
    check_pattern(SlidingWindowAttention(window_size), *sizes, mask=mask)


@given(
    leadings,
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 24),
    st.integers(1, 9),
    dtypes,
    st.integers(1, 26),
)
def test_documents_equal_torchs_plain_form(
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype, window_size
):
    documents = document_runs(torch.randint(3, (*leading, seq)))
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    mask = sliding_window_mask(seq, window_size) & document_mask(documents)
    check_pattern(SlidingWindowAttention(window_size), *sizes, mask=mask, documents=documents)


@given(st.integers(1, 30), st.integers(1, 30))
def test_the_longest_window_is_full_attention(seq, more):
    q, k, v = torch.randn(3, 2, 2, seq, 4)
    windowed = SlidingWindowAttention(seq + more - 1)(q, k, v)
    torch.testing.assert_close(windowed, FullAttention()(q, k, v))


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_nothing(leading):
    q, k = torch.randn(*leading, 4, 0, 8), torch.randn(*leading, 2, 0, 8)
    assert SlidingWindowAttention(3)(q, k, k).shape == q.shape


@pytest.mark.parametrize("packed", [False, True])
def test_time_and_memory_grow_with_seq_times_window(record_allocations, packed):
    def cost(seq, window_size):
        q, k, v = torch.randn(3, 1, 2, seq, 8)
        documents = document_runs(torch.arange(seq) // 100)[None] if packed else None
        q.requires_grad_()
        # The plain form holds more than the fused kernels, and its products are counted.
        with (
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as flops,
            record_allocations() as allocations,
        ):
            SlidingWindowAttention(window_size)(q, k, v, documents).sum().backward()
        return flops.get_total_flops(), allocations.total_bytes, allocations.largest

    flops, total_bytes, largest = cost(1024, 64)
    assert flops > 0
    assert largest < 1024 * 1024 // 2
    twice = cost(2048, 64)
    # The first block costs less than the others.
    assert twice[0] == pytest.approx(2 * flops, rel=0.04)
    assert twice[1] == pytest.approx(2 * total_bytes, rel=0.1)
    assert twice[2] == pytest.approx(2 * largest, rel=0.1)
    wider = cost(1024, 128)
    assert wider[0] == pytest.approx(2 * flops, rel=0.04)
    assert wider[1] < 2.1 * total_bytes


def test_a_window_of_nothing():
    with pytest.raises(ValueError, match="window_size=0 must be positive"):
        SlidingWindowAttention(0)


def test_a_value_beyond_the_window_has_no_effect_at_all():
    q, k, v = torch.randn(3, 1, 2, 50, 4)
    out = SlidingWindowAttention(7)(q, k, v)
    k[:, :, :20] = torch.randn(20, 4)
    v[:, :, :20] = 1e30
    assert torch.equal(SlidingWindowAttention(7)(q, k, v)[:, :, 26:], out[:, :, 26:])
    assert not torch.equal(SlidingWindowAttention(7)(q, k, v)[:, :, 25:], out[:, :, 25:])


def test_printed():
    assert repr(SlidingWindowAttention(7)) == "SlidingWindowAttention(window_size=7)"


def test_one_token_sees_its_own_value():
    q, k, v = torch.randn(3, 2, 3, 9, 4)
    torch.testing.assert_close(SlidingWindowAttention(1)(q, k, v), v)
    assert F.mse_loss(SlidingWindowAttention(2)(q, k, v), v) > 0
