import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import (
    FullAttention,
    LinearAttention,
    MultiHeadSelfAttention,
    RotaryPositionalEmbedding,
    SlidingWindowAttention,
    StridedAttention,
    document_runs,
    scaled_dot_product_attention,
)
from transformers import MistralConfig, Qwen3Config
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.models.mistral.modeling_mistral import MistralAttention, MistralRotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3Attention, Qwen3RotaryEmbedding

PATTERNS = [FullAttention(), SlidingWindowAttention(3), StridedAttention(2), LinearAttention()]

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


@pytest.mark.parametrize("pattern", PATTERNS[:3], ids=repr)
def test_shifted_positions_change_nothing(pattern):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=32)
    attn = MultiHeadSelfAttention(8, 2, rope, pattern=pattern)
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
    with pytest.raises(ValueError, match=r"rope\.d_k=6 must be head_dim=4"):
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
@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_empty_batches_and_sequences(shape, with_rope, pattern):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8) if with_rope else None
    layer = MultiHeadSelfAttention(8, 2, rope, num_kv_heads=1, pattern=pattern)
    assert layer(torch.randn(shape)).shape == shape


def test_no_keys_give_zeros():
    q, k, v = torch.randn(2, 4), torch.randn(0, 4), torch.randn(0, 3)
    torch.testing.assert_close(
        scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    )


def halves(weight, head_dim):
    """The rows of q and k, from neighbouring pairs to Hugging Face's halves."""
    pairs = weight.unflatten(0, (-1, head_dim // 2, 2))
    return pairs.transpose(1, 2).flatten(0, 2)


def hugging_face_layer(layer, theta, window_size=None):
    """Mistral's attention, or Qwen3's where there are norms, as a function of the input."""
    sizes = {
        "hidden_size": layer.q_proj.in_features,
        "num_attention_heads": layer.num_heads,
        "num_key_value_heads": layer.num_kv_heads,
        "head_dim": layer.head_dim,
        "num_hidden_layers": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
        "attn_implementation": "eager",
    }
    if layer.q_norm is None:
        config = MistralConfig(**sizes, sliding_window=window_size)
        theirs, rotary = MistralAttention(config, 0), MistralRotaryEmbedding(config)
    else:
        config = Qwen3Config(
            **sizes,
            rms_norm_eps=layer.q_norm.eps,
            use_sliding_window=window_size is not None,
            sliding_window=window_size,
            max_window_layers=0,
        )
        theirs, rotary = Qwen3Attention(config, 0), Qwen3RotaryEmbedding(config)
    weights = {}
    for name, weight in layer.state_dict().items():
        turned = name.startswith(("q_proj", "k_proj", "q_norm", "k_norm"))
        weights[name.replace("output", "o")] = halves(weight, layer.head_dim) if turned else weight
    theirs.load_state_dict(weights)

    def forward(x):
        positions = torch.arange(x.shape[1])[None]
        make_mask = create_causal_mask if window_size is None else create_sliding_window_causal_mask
        mask = make_mask(config, x, None, None, position_ids=positions)
        out, _ = theirs(x, rotary(x, positions), mask)
        return out

    return forward, theirs


@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 20),
    st.sampled_from([None, 1, 4, 7, 30]),
    st.booleans(),
)
def test_equals_the_layers_of_hugging_face(num_kv_heads, group, half, seq, window_size, qk_norm):
    num_heads, head_dim, theta = num_kv_heads * group, 2 * half, 500.0
    pattern = None if window_size is None else SlidingWindowAttention(window_size)
    layer = MultiHeadSelfAttention(
        10,
        num_heads,
        RotaryPositionalEmbedding(theta, head_dim, max_seq_len=20),
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        qk_norm=qk_norm,
        pattern=pattern,
    )
    for norm in filter(None, (layer.q_norm, layer.k_norm)):
        torch.nn.init.normal_(norm.weight, mean=1.0)
    forward, theirs = hugging_face_layer(layer, theta, window_size)
    x = torch.randn(2, seq, 10)
    out, expected = layer(x), forward(x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=2e-5)
    out.square().sum().backward()
    expected.square().sum().backward()
    their_grads = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in layer.named_parameters():
        turned = name.startswith(("q_proj", "k_proj", "q_norm", "k_norm"))
        grad = halves(weight.grad, head_dim) if turned else weight.grad
        their_grad = their_grads[name.replace("output", "o")]
        torch.testing.assert_close(grad, their_grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_groups_are_heads_of_keys_and_values_that_are_repeated(pattern):
    grouped = MultiHeadSelfAttention(12, 6, num_kv_heads=2, pattern=pattern)
    weights = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = weights[name].unflatten(0, (2, 2))
        weights[name] = heads.repeat_interleave(3, 0).flatten(0, 1)
    single = MultiHeadSelfAttention(12, 6, pattern=pattern)
    single.load_state_dict(weights)
    x = torch.randn(2, 9, 12)
    torch.testing.assert_close(grouped(x), single(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@pytest.mark.parametrize("with_rope", [True, False])
def test_documents_are_attended_each_by_itself(pattern, with_rope):
    afresh = with_rope and pattern == LinearAttention()  # the others see distances alone
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=16) if with_rope else None
    layer = MultiHeadSelfAttention(8, 2, rope, pattern=pattern)
    x = torch.randn(2, 11, 8)
    ids = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]])
    positions = torch.tensor([[*range(4), *range(6), 0], [0, *range(10)]])
    documents = document_runs(ids)
    out = layer(x, positions if afresh else None, documents)
    for row, cuts in enumerate(((0, 4, 10, 11), (0, 1, 11))):
        for start, end in itertools.pairwise(cuts):
            alone = layer(x[row, start:end])
            torch.testing.assert_close(out[row, start:end], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_kv_heads": 3}, "num_heads=4 must be divisible by num_kv_heads=3"),
        ({"num_kv_heads": 0}, "num_heads=4 must be divisible by num_kv_heads=0"),
    ],
)
def test_heads_of_keys_must_divide(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MultiHeadSelfAttention(8, 4, **options)


def test_any_width_of_a_head():
    layer = MultiHeadSelfAttention(10, 3, head_dim=5, num_kv_heads=1)
    assert layer(torch.randn(2, 4, 10)).shape == (2, 4, 10)
    assert layer.q_proj.weight.shape == (15, 10)


def test_reset_parameters_fills_norms_and_table():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8, device="meta")
    layer = MultiHeadSelfAttention(8, 2, rope, qk_norm=True, device="meta").to_empty(device="cpu")
    layer.reset_parameters()
    assert torch.equal(layer.q_norm.weight, torch.ones(4))
    assert torch.equal(layer.k_norm.weight, torch.ones(4))
    assert torch.equal(rope.table, RotaryPositionalEmbedding(10000.0, 4, 8).table)


def test_printed():
    layer = MultiHeadSelfAttention(8, 2, num_kv_heads=1, pattern=StridedAttention(3))
    assert "num_heads=2, num_kv_heads=1, StridedAttention(stride=3)" in str(layer)
