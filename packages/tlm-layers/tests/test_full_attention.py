import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import FullAttention, causal_mask, document_mask, document_runs

leadings = st.lists(st.integers(1, 3), max_size=3)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])


@given(
    leadings, st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 9), dtypes
)
def test_equals_torchs_plain_form(
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype
):
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    check_pattern(FullAttention(), *sizes, mask=causal_mask(seq))


@given(
    leadings, st.integers(1, 2), st.integers(1, 3), st.integers(1, 20), st.integers(1, 9), dtypes
)
def test_documents_equal_torchs_plain_form(
    check_pattern, leading, num_kv_heads, group, seq, head_dim, dtype
):
    documents = document_runs(torch.randint(3, (*leading, seq)))
    mask = causal_mask(seq) & document_mask(documents)
    sizes = leading, num_kv_heads, group, seq, head_dim, dtype
    check_pattern(FullAttention(), *sizes, mask=mask, documents=documents)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3)])
def test_nothing(leading):
    q, k = torch.randn(*leading, 4, 0, 8), torch.randn(*leading, 2, 0, 8)
    assert FullAttention()(q, k, k).shape == q.shape
    documents = torch.zeros(*leading, 0, dtype=torch.int64)
    assert FullAttention()(q, k, k, documents).shape == q.shape


def test_scores_are_not_held(record_allocations):
    seq = 512
    q, k = torch.randn(1, 4, seq, 8, requires_grad=True), torch.randn(1, 2, seq, 8)
    with record_allocations() as allocations:
        FullAttention()(q, k, k).sum().backward()
    assert allocations.largest < 4 * seq * seq  # the scores of the heads
