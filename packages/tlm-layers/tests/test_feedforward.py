import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import SwiGLU, default_d_ff
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP


@pytest.mark.parametrize(
    ("d_model", "d_ff"), [(1, 64), (24, 64), (256, 704), (512, 1344), (768, 2048), (1600, 4288)]
)
def test_default_width(d_model, d_ff):
    assert default_d_ff(d_model) == d_ff
    assert SwiGLU(d_model, device="meta").w1.weight.shape == (d_ff, d_model)


@given(st.integers(24, 10_000))
def test_default_width_is_the_nearest_multiple(d_model):
    assert default_d_ff(d_model) % 64 == 0
    assert abs(default_d_ff(d_model) - 8 * d_model / 3) <= 32


@given(st.lists(st.integers(1, 3), max_size=3), st.integers(1, 8), st.integers(1, 8))
def test_is_its_formula(leading, d_model, d_ff):
    ffn = SwiGLU(d_model, d_ff)
    x = torch.randn(*leading, d_model)
    gate, value = F.linear(x, ffn.w1.weight), F.linear(x, ffn.w3.weight)
    torch.testing.assert_close(ffn(x), F.linear(F.silu(gate) * value, ffn.w2.weight))


def test_equals_hugging_face():
    ffn = SwiGLU(16, 40)
    theirs = LlamaMLP(LlamaConfig(hidden_size=16, num_attention_heads=1, intermediate_size=40))
    names = {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
    theirs.load_state_dict({f"{names[k[:2]]}.weight": v for k, v in ffn.state_dict().items()})
    x = torch.randn(2, 3, 16)
    torch.testing.assert_close(ffn(x), theirs(x))


def test_device_and_type():
    ffn = SwiGLU(8, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in ffn.parameters()} == {("meta", torch.bfloat16)}
