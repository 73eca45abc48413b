import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from pathlib import Path
from typing import Literal

import pytest
import tlm_layers
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import ModelConfig, TransformerLM, default_d_ff


def test_defaults():
    config = ModelConfig()
    assert (config.vocab_size, config.context_length, config.d_model) == (2048, 128, 256)
    assert (config.num_layers, config.num_heads, config.rope_theta) == (4, 8, 10000.0)
    assert (config.norm, config.norm_place, config.position) == ("rmsnorm", "pre", "rope")
    assert (config.attention, config.ffn, config.tie_embeddings) == ("full", "swiglu", False)


def test_resolved_fills_in_what_none_stands_for():
    config = ModelConfig(d_model=512, num_heads=4).resolved()
    assert (config.head_dim, config.num_kv_heads, config.d_ff) == (128, 4, 1344)
    assert (config.window_size, config.stride) == (None, None)
    assert ModelConfig(attention="sliding_window").resolved().window_size == 32
    assert ModelConfig(attention="strided", context_length=256).resolved().stride == 16
    assert config.resolved() == config


def test_resolved_keeps_what_is_given():
    config = ModelConfig(
        num_kv_heads=2, head_dim=48, d_ff=100, attention="sliding_window", window_size=7
    )
    assert config.resolved() == config


def test_it_is_frozen_and_takes_names_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().d_model = 3
    with pytest.raises(TypeError):
        ModelConfig(2048)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 256.0}, "d_model=256.0 must be a whole number"),
        ({"d_ff": True}, "d_ff=True must be a whole number"),
        ({"num_layers": None}, "num_layers=None must be a whole number"),
        ({"qk_norm": "false"}, "qk_norm='false' must be True or False"),
        ({"rope_theta": None}, "rope_theta=None must be a number"),
        ({"d_model": 0}, "d_model=0 must be a positive number"),
        ({"rope_theta": -1.0}, "rope_theta=-1.0 must be a positive number"),
        ({"norm_eps": float("nan")}, "norm_eps=nan must be a positive number"),
        ({"logit_soft_cap": 0.0}, "logit_soft_cap=0.0 must be a positive number"),
        ({"z_loss": -1e-4}, "z_loss=-0.0001 must be a number that is not negative"),
        (
            {"d_model": 96, "num_heads": 7},
            "d_model=96 must be divisible by num_heads=7, or head_dim be given",
        ),
        (
            {"num_heads": 8, "num_kv_heads": 3},
            "num_heads=8 must be divisible by num_kv_heads=3",
        ),
        ({"d_model": 24, "num_heads": 8}, "heads of width 3"),
        ({"head_dim": 5}, "heads of width 5"),
        ({"norm": "batchnorm"}, "norm='batchnorm' must be one of 'rmsnorm', 'layernorm', 'none'"),
        (
            {"window_size": 8},
            "window_size=8 has no use with attention='full': it needs 'sliding_window'",
        ),
        (
            {"attention": "linear", "stride": 8},
            "stride=8 has no use with attention='linear': it needs 'strided'",
        ),
        (
            {"position": "none", "rope_theta": 5e5},
            "rope_theta=500000.0 has no use with position='none': it needs 'rope'",
        ),
        (
            {"rope_factor": 32.0},
            "rope_factor=32.0 has no use with rope_scaling='none': it needs 'llama3'",
        ),
        (
            {"norm": "none", "norm_place": "post"},
            "norm_place='post' has no use with norm='none': it needs 'rmsnorm' or 'layernorm'",
        ),
        (
            {"rope_scaling": "llama3", "rope_low_freq_factor": 4.0},
            "rope_low_freq_factor=4.0 must be below rope_high_freq_factor=4.0",
        ),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        ModelConfig(**options)


def test_an_odd_head_is_fine_without_rope():
    config = ModelConfig(d_model=24, num_heads=8, position="none", vocab_size=10)
    assert TransformerLM(config)(torch.zeros(1, 3, dtype=torch.int64)).shape == (1, 3, 10)


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(ModelConfig)])
def test_each_field_has_a_docstring(name):
    source = inspect.getsource(ModelConfig)
    assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE)


@given(st.integers(1, 4096))
def test_all_kinds_of_feed_forward_have_as_many_parameters(d_model):
    kinds = typing.get_args(typing.get_type_hints(ModelConfig)["ffn"])
    assert typing.get_origin(typing.get_type_hints(ModelConfig)["ffn"]) is Literal
    matrices = {"swiglu": 3}
    counts = {matrices.get(kind, 2) * d_model * default_d_ff(d_model, kind) for kind in kinds}
    assert len(counts) == 1


def test_the_config_needs_no_torch():
    config = Path(tlm_layers.__file__).with_name("config.py")
    code = f"import runpy, sys; runpy.run_path({str(config)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
