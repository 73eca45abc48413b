import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tlm_layers import (
    FullAttention,
    SlidingWindowAttention,
    causal_mask,
    document_mask,
    document_runs,
    full_attention,
    scaled_dot_product_attention,
    sliding_window,
    sliding_window_mask,
)
from tlm_layers.fused_attention import flex_attention_by_document, fused_attention, prefers_flex

sizes = st.integers(1, 8)
dtypes = st.sampled_from([torch.float64, torch.float32, torch.bfloat16])
uncompiled = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


@given(
    st.lists(st.integers(1, 3), max_size=3),
    st.integers(1, 3),
    st.integers(1, 3),
    sizes,
    sizes,
    sizes,
    dtypes,
    st.sampled_from(["none", "causal", "one for all", "one for each"]),
)
def test_equals_the_plain_form_with_its_gradients(
    leading, num_kv_heads, group, queries, keys, head_dim, dtype, masked
):
    heads = num_kv_heads * group
    q = torch.randn(*leading, heads, queries, head_dim, dtype=dtype, requires_grad=True)
    k, v = torch.randn(2, *leading, num_kv_heads, keys, head_dim, dtype=dtype).unbind()
    k.requires_grad_()
    v.requires_grad_()
    mask, options = None, {}
    if masked == "causal":
        mask, options = torch.ones(queries, keys).tril().bool(), {"is_causal": True}
    elif masked != "none":
        shape = (*leading, 1) if masked == "one for each" else (1,)
        mask = torch.rand(*shape, queries, keys) > 0.5
        mask[..., 0] = True
        options = {"mask": mask}
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    shared = [x.repeat_interleave(group, -3) for x in wide[1:]]
    expected = scaled_dot_product_attention(wide[0], *shared, mask)
    out = fused_attention(q, k, v, **options)
    assert out.dtype == dtype
    tolerance = {
        torch.float64: {"rtol": 1e-10, "atol": 1e-12},
        torch.float32: {"rtol": 1e-4, "atol": 1e-5},
        torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2},  # weights are rounded to 8 bits on the way
    }[dtype]
    torch.testing.assert_close(out.double(), expected, **tolerance)
    grad = torch.randn_like(out)
    grads = torch.autograd.grad(out, (q, k, v), grad)
    for ours, exact in zip(grads, torch.autograd.grad(expected, wide, grad.double()), strict=True):
        torch.testing.assert_close(ours.double(), exact, **tolerance)


def test_groups_equal_torchs():
    q, k, v = torch.randn(2, 6, 9, 4), torch.randn(2, 2, 9, 4), torch.randn(2, 2, 9, 4)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(fused_attention(q, k, v, is_causal=True), expected)
    # neighbouring heads of queries share one of keys
    alone = F.scaled_dot_product_attention(q[:, 3:], k[:, 1:], v[:, 1:], is_causal=True)
    torch.testing.assert_close(expected[:, 3:], alone)


@uncompiled
@settings(max_examples=12)
@given(
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 40),
    st.sampled_from([None, 1, 7, 40]),
    dtypes,
)
def test_flex_attention_equals_the_masks(batch, num_kv_heads, group, seq, window_size, dtype):
    # Its backward pass does not exist on the CPU.
    q = torch.randn(batch, num_kv_heads * group, seq, 8, dtype=dtype)
    k, v = torch.randn(2, batch, num_kv_heads, seq, 8, dtype=dtype)
    documents = document_runs(torch.randint(3, (batch, seq)))
    mask = causal_mask(seq) if window_size is None else sliding_window_mask(seq, window_size)
    mask = (mask & document_mask(documents)).unsqueeze(1)
    wide = q.double(), *(x.double().repeat_interleave(group, 1) for x in (k, v))
    expected = scaled_dot_product_attention(*wide, mask)
    out = flex_attention_by_document(q, k, v, documents, window_size)
    assert out.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), expected, rtol=4 * eps, atol=8 * eps)


def test_flex_attention_is_for_compiled_graphs_on_gpus():
    assert not prefers_flex(torch.randn(1, 1, 1, 1))


@uncompiled
@pytest.mark.parametrize("pattern", [FullAttention(), SlidingWindowAttention(9)])
def test_patterns_take_flex_attention_where_it_is_preferred(monkeypatch, pattern):
    q, k, v = torch.randn(2, 4, 30, 8), *torch.randn(2, 2, 2, 30, 8)
    documents = document_runs(torch.randint(3, (2, 30)))
    expected = pattern(q, k, v, documents)
    calls = []

    def spy(*arguments):
        calls.append(arguments)
        return flex_attention_by_document(*arguments)

    for module in (full_attention, sliding_window):
        monkeypatch.setattr(module, "prefers_flex", lambda q: True)
        monkeypatch.setattr(module, "flex_attention_by_document", spy)
    torch.testing.assert_close(pattern(q, k, v, documents), expected)
    assert len(calls) == 1
