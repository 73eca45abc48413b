import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import (
    FullAttention,
    StridedAttention,
    document_mask,
    document_runs,
    strided_mask,
)
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
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype, stride
):
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    check_pattern(StridedAttention(stride), *sizes, mask=strided_mask(seq, stride))


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
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype, stride
):
    documents = document_runs(torch.randint(3, (*leading, seq)))
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    mask = strided_mask(seq, stride) & document_mask(documents)
    check_pattern(StridedAttention(stride), *sizes, mask=mask, documents=documents)


@pytest.mark.parametrize("stride", [1, 40, 41])
def test_shortest_and_longest_strides_are_full_attention(stride):
    q, k, v = torch.randn(3, 2, 2, 40, 4)
    torch.testing.assert_close(StridedAttention(stride)(q, k, v), FullAttention()(q, k, v))


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_nothing(leading):
    q, k = torch.randn(*leading, 4, 0, 8), torch.randn(*leading, 2, 0, 8)
    assert StridedAttention(3)(q, k, k).shape == q.shape


@pytest.mark.parametrize("packed", [False, True])
def test_with_a_stride_of_the_root_time_and_memory_grow_with_seq_to_the_three_halves(
    record_allocations, packed
):
    def cost(stride):
        seq = stride * stride
        q, k, v = torch.randn(3, 1, 2, seq, 8)
        documents = document_runs(torch.arange(seq) // 100)[None] if packed else None
        q.requires_grad_()
        with FlopCounterMode(display=False) as flops, record_allocations() as allocations:
            StridedAttention(stride)(q, k, v, documents).sum().backward()
        assert allocations.largest <= 2 * seq * 3 * stride  # the scores, (heads, seq, 3 · stride)
        return flops.get_total_flops(), allocations.total_bytes

    flops, total_bytes = cost(16)
    four_times = cost(32)  # the length
    assert four_times[0] == 8 * flops > 0
    assert four_times[1] < 8 * total_bytes


def test_a_stride_of_nothing():
    with pytest.raises(ValueError, match="stride=0 must be positive"):
        StridedAttention(0)


def test_printed():
    assert repr(StridedAttention(7)) == "StridedAttention(stride=7)"
