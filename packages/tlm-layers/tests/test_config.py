import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tlm_layers
from tlm_layers import ModelConfig


def test_defaults():
    assert dataclasses.asdict(ModelConfig()) == {
        "vocab_size": 2048,
        "context_length": 128,
        "d_model": 256,
        "num_layers": 4,
        "num_heads": 8,
        "d_ff": None,
        "rope_theta": 10000.0,
    }
    assert ModelConfig().head_dim == 32


def test_frozen_and_by_name_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().d_model = 1
    with pytest.raises(TypeError):
        ModelConfig(4096)


@pytest.mark.parametrize(
    "name",
    ["vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", "rope_theta"],
)
@pytest.mark.parametrize("value", [0, -1])
def test_every_value_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name}={value} must be positive"):
        ModelConfig(**{name: value})


def test_heads_must_divide():
    with pytest.raises(ValueError, match="d_model=96 must be divisible by num_heads=7"):
        ModelConfig(d_model=96, num_heads=7)


def test_heads_must_be_even():
    message = "d_model=6 over num_heads=2 makes heads of 3, which must be even for RoPE"
    with pytest.raises(ValueError, match=re.escape(message)):
        ModelConfig(d_model=6, num_heads=2)


def test_config_needs_no_torch():
    config = Path(tlm_layers.__file__).with_name("config.py")
    code = f"import runpy, sys; runpy.run_path({str(config)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
