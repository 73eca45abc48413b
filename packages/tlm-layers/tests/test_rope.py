import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import Llama3Scaling, RotaryPositionalEmbedding
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb


def halves(x):
    # our neighbours (0, 1), (2, 3), … -> all first ones, then all second ones, as Hugging Face
    return torch.cat((x[..., 0::2], x[..., 1::2]), dim=-1)


@given(st.integers(1, 8), st.integers(1, 20), st.sampled_from([100.0, 10000.0, 5e5]))
def test_equals_hugging_face(half, seq, theta):
    rope = RotaryPositionalEmbedding(theta, 2 * half, max_seq_len=20)
    q, k = torch.randn(2, 2, 3, seq, 2 * half)
    positions = torch.randint(20, (2, seq))
    config = LlamaConfig(
        hidden_size=2 * half,
        num_attention_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    their_q, their_k = apply_rotary_pos_emb(halves(q), halves(k), cos, sin)
    our_positions = positions.unsqueeze(-2)  # for the axis of heads
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(halves(rope(q, our_positions)), their_q, **tolerance)
    torch.testing.assert_close(halves(rope(k, our_positions)), their_k, **tolerance)


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 10))
def test_leading_axes_and_default_positions(leading, seq):
    rope = RotaryPositionalEmbedding(10000.0, 6, max_seq_len=10)
    x = torch.randn(*leading, seq, 6)
    positions = torch.arange(seq)
    torch.testing.assert_close(rope(x), rope(x, positions))
    torch.testing.assert_close(rope(x), rope(x, positions.expand(*leading, seq)))


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 20))
def test_dot_products_depend_on_the_distance_alone(i, j, shift):
    rope = RotaryPositionalEmbedding(10000.0, 8, max_seq_len=64)
    q, k = torch.randn(2, 1, 8)

    def score(i, j):
        return (rope(q, torch.tensor([i])) * rope(k, torch.tensor([j]))).sum()

    torch.testing.assert_close(score(i, j), score(i + shift, j + shift), rtol=1e-4, atol=1e-4)


def test_lengths_stay_and_position_0_is_the_identity():
    rope = RotaryPositionalEmbedding(10000.0, 8, max_seq_len=16)
    x = torch.randn(3, 16, 8)
    torch.testing.assert_close(rope(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rope(x)[:, 0], x[:, 0])


def test_gradient_also_through_a_transposed_input():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    x = torch.randn(8, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rope(x.transpose(0, 1)), x)


def test_types():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    x = torch.randn(8, 4).to(torch.bfloat16)
    assert rope(x).dtype == torch.bfloat16
    torch.testing.assert_close(rope(x), rope(x.float()).to(torch.bfloat16))
    torch.testing.assert_close(rope(x, torch.arange(8, dtype=torch.int32)), rope(x))


def test_no_state_and_refilled_after_meta():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8, device="meta")
    assert rope.state_dict() == {}
    assert rope.table.device.type == "meta"
    rope = rope.to_empty(device="cpu")
    rope.reset_parameters()
    x = torch.randn(8, 4)
    assert torch.equal(rope(x), RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)(x))


@pytest.mark.parametrize(("low", "high"), [(0, 8), (-1, 3)])
def test_positions_outside_the_table(low, high):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    message = f"token_positions go from {low} to {high}; they must be from 0 to 7 (max_seq_len=8)"
    with pytest.raises(ValueError, match=re.escape(message)):
        rope(torch.randn(2, 4), torch.tensor([low, high]))


def test_a_sequence_longer_than_the_table():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    with pytest.raises(ValueError, match="a sequence of 9 is longer than max_seq_len=8"):
        rope(torch.randn(9, 4))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 4, 8), "theta=0.0 and max_seq_len=8 must be positive"),
        ((1e4, 4, 0), "theta=10000.0 and max_seq_len=0 must be positive"),
        ((1e4, 5, 8), "d_k=5 must be positive and even: features turn in pairs"),
        ((1e4, 0, 8), "d_k=0 must be positive and even: features turn in pairs"),
    ],
)
def test_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        RotaryPositionalEmbedding(*arguments)


def test_printed():
    rope = RotaryPositionalEmbedding(100.0, 4, 8)
    assert str(rope) == "RotaryPositionalEmbedding(theta=100.0, d_k=4, max_seq_len=8)"


LAYOUTS = {
    "transposed": lambda: (torch.randn(4, 4) @ torch.randn(8, 4).mT).mT,
    "odd row stride": lambda: torch.randn(8, 5)[:, :4],
    "odd offset": lambda: torch.randn(8, 6)[:, 1:5],
    "odd storage offset": lambda: torch.randn(33)[1:].view(8, 4),
    "every second": lambda: torch.randn(8, 8)[:, ::2],
    "expanded": lambda: torch.randn(1, 1).expand(8, 4),
    "float64": lambda: torch.randn(8, 5, dtype=torch.float64)[:, 1:],
    "bfloat16": lambda: torch.randn(8, 5).to(torch.bfloat16)[:, 1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_in_memory(layout):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    x = LAYOUTS[layout]()
    dense = x.clone(memory_format=torch.contiguous_format)
    torch.testing.assert_close(rope(x), rope(dense))
    torch.testing.assert_close(rope(x, torch.arange(8)), rope(dense))


def test_gradient_through_an_odd_layout():
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    x = torch.randn(8, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rope(x[:, 1:]), x)


@pytest.mark.parametrize("shape", [(0, 8, 4), (3, 0, 4), (0, 4)])
def test_empty_batches_and_sequences(shape):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    x = torch.randn(shape)
    assert rope(x).shape == rope(x, torch.arange(shape[-2])).shape == shape


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16, torch.float64])
def test_a_cast_of_the_model_leaves_the_table(cast):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    table = rope.table.clone()
    rope.to(cast)
    assert rope.table.dtype == torch.float32
    assert torch.equal(rope.table, table)


@pytest.mark.parametrize("shape", [(5, 2), (5, 16), (8,), ()])
def test_x_of_another_width(shape):
    rope = RotaryPositionalEmbedding(10000.0, 8, max_seq_len=8)
    message = f"x of shape {shape} must be (..., seq, d_k=8)"
    with pytest.raises(ValueError, match=re.escape(message)):
        rope(torch.randn(shape))


@pytest.mark.parametrize("shape", [(1,), (6,), (5, 1), ()])
def test_positions_of_another_length(shape):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    message = f"token_positions of shape {shape} must end in the seq=5 of x"
    with pytest.raises(ValueError, match=re.escape(message)):
        rope(torch.randn(5, 4), torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_positions_of_another_type(dtype):
    rope = RotaryPositionalEmbedding(10000.0, 4, max_seq_len=8)
    message = f"token_positions are {dtype}; they must be int32 or int64"
    with pytest.raises(TypeError, match=message):
        rope(torch.randn(5, 4), torch.zeros(5, dtype=dtype))


@st.composite
def llama3_scalings(draw):
    low = draw(st.floats(0.1, 8.0))
    return Llama3Scaling(
        factor=draw(st.floats(1.0, 64.0)),
        low_freq_factor=low,
        high_freq_factor=low + draw(st.floats(0.1, 8.0)),
        original_context=draw(st.integers(16, 16384)),
    )


def hugging_face_config(half, theta, scaling):
    return LlamaConfig(
        hidden_size=2 * half,
        num_attention_heads=1,
        max_position_embeddings=131072,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": theta,
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_context,
        },
    )


@given(st.integers(1, 64), st.sampled_from([100.0, 10000.0, 5e5]), llama3_scalings())
def test_llama3_scaling_equals_hugging_face(half, theta, scaling):
    config = hugging_face_config(half, theta, scaling)
    # Between two factors that are close little of float32 is left: theirs is made to use float64.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "float", torch.float64)
        expected, factor = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    assert expected.dtype == torch.float64 and factor == 1
    frequencies = theta ** -(torch.arange(0, 2 * half, 2, dtype=torch.float64) / (2 * half))
    torch.testing.assert_close(scaling(frequencies), expected, rtol=1e-10, atol=0)


def test_scaled_rotations_equal_hugging_face():
    scaling = Llama3Scaling(factor=4.0, original_context=64)
    rope = RotaryPositionalEmbedding(500.0, 16, max_seq_len=256, scaling=scaling)
    cos, sin = LlamaRotaryEmbedding(hugging_face_config(8, 500.0, scaling))(
        torch.zeros(1), torch.arange(256)[None]
    )
    x = torch.randn(1, 1, 256, 16)
    expected, _ = apply_rotary_pos_emb(halves(x), halves(x), cos, sin)
    torch.testing.assert_close(halves(rope(x)), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(rope(x), RotaryPositionalEmbedding(500.0, 16, 256)(x))


def test_scaling_outlives_meta():
    scaling = Llama3Scaling(original_context=64)
    meta = RotaryPositionalEmbedding(500.0, 16, 32, device="meta", scaling=scaling)
    expected = RotaryPositionalEmbedding(500.0, 16, 32, scaling=scaling)
    assert torch.equal(meta.to_empty(device="cpu").table, expected.table)
    assert "scaling=Llama3Scaling(factor=8.0" in str(expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0.0}, "factor=0.0 and original_context=8192 must both be positive"),
        ({"original_context": 0}, "factor=8.0 and original_context=0 must both be positive"),
        (
            {"low_freq_factor": 4.0},
            "low_freq_factor=4.0 must lie between 0 and high_freq_factor=4.0",
        ),
        (
            {"low_freq_factor": 0.0},
            "low_freq_factor=0.0 must lie between 0 and high_freq_factor=4.0",
        ),
    ],
)
def test_scaling_out_of_range(options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Llama3Scaling(**options)
