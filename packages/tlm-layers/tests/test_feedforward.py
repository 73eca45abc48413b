import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import FeedForward, SwiGLU, default_d_ff, relu2
from tlm_layers.feedforward import make_feed_forward
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP

ACTIVATIONS = {"silu": "silu", "gelu": "gelu", "relu2": "relu2"}  # ours to Hugging Face's


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


@pytest.mark.parametrize("d_model", [1, 24, 256, 512])
@pytest.mark.parametrize("kind", ["silu", "gelu", "relu2"])
def test_all_kinds_have_as_many_parameters(kind, d_model):
    def count(kind):
        ffn = make_feed_forward(kind, d_model, device="meta")
        return sum(parameter.numel() for parameter in ffn.parameters())

    assert count(kind) == count("swiglu")


leadings = st.lists(st.integers(1, 3), max_size=3)


@given(leadings, st.integers(1, 8), st.integers(1, 8))
def test_swiglu_is_its_formula(leading, d_model, d_ff):
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


@given(leadings, st.integers(1, 8), st.integers(1, 8), st.sampled_from(list(ACTIVATIONS)))
def test_plain_kinds_equal_torchs_layers_and_hugging_faces_activations(
    leading, d_model, d_ff, kind
):
    ffn = make_feed_forward(kind, d_model, d_ff)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(d_model, d_ff, bias=False),
        ACT2FN[ACTIVATIONS[kind]],
        torch.nn.Linear(d_ff, d_model, bias=False),
    )
    weights = dict(zip(theirs.state_dict(), ffn.state_dict().values(), strict=True))
    theirs.load_state_dict(weights)
    x = torch.randn(*leading, d_model)
    out, expected = ffn(x), theirs(x)
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    expected.sum().backward()
    for ours, other in zip(ffn.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, other.grad)


def test_gelu_equals_torchs_module():
    ffn = FeedForward(8, 20)
    x = torch.randn(3, 8)
    torch.testing.assert_close(ffn(x), ffn.w2(torch.nn.GELU()(ffn.w1(x))))


def test_relu2_gradient():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(relu2, x)


@pytest.mark.parametrize("kind", ["swiglu", "silu", "gelu", "relu2"])
def test_reset_parameters_starts_afresh(kind):
    torch.manual_seed(0)
    ffn = make_feed_forward(kind, 8, 12)
    expected = {name: weight.clone() for name, weight in ffn.state_dict().items()}
    torch.manual_seed(0)
    ffn.reset_parameters()
    assert all(torch.equal(ffn.state_dict()[name], weight) for name, weight in expected.items())


@pytest.mark.parametrize("kind", ["swiglu", "silu", "gelu", "relu2"])
def test_device_and_type(kind):
    ffn = make_feed_forward(kind, 8, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in ffn.parameters()} == {("meta", torch.bfloat16)}


def test_defaults_and_print():
    assert inspect.signature(FeedForward).parameters["activation"].default is F.gelu
    assert FeedForward(64, device="meta").w1.out_features == default_d_ff(64, "gelu")
    assert "activation=relu2" in str(FeedForward(8, 12, relu2))


def test_second_derivatives():
    ffn = SwiGLU(3, 4, dtype=torch.float64)
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(ffn, x)


def test_any_activation_is_printed():
    assert "GELU" in str(FeedForward(4, activation=torch.nn.GELU()))
