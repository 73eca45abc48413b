import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import Embedding


@given(st.lists(st.integers(1, 4), max_size=3), st.sampled_from([torch.int32, torch.int64]))
def test_equals_torch(shape, dtype):
    layer = Embedding(11, 5)
    token_ids = torch.randint(11, shape, dtype=dtype)
    torch.testing.assert_close(layer(token_ids), F.embedding(token_ids, layer.weight))


def test_initialisation():
    torch.manual_seed(0)
    weight = Embedding(1000, 200).weight.detach()
    assert 2.9 < weight.abs().max() <= 3.0
    assert weight.mean().abs() < 0.01
    assert weight.std() == pytest.approx(0.9866, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0, 11), (-1, 3)])
def test_ids_outside_the_table(low, high):
    message = f"token_ids go from {low} to {high}; they must be from 0 to 10 (num_embeddings=11)"
    with pytest.raises(ValueError, match=re.escape(message)):
        Embedding(11, 5)(torch.tensor([[low, high]]))


def test_device_and_type():
    weight = Embedding(3, 2, device="meta", dtype=torch.bfloat16).weight
    assert weight.device.type == "meta"
    assert weight.dtype == torch.bfloat16
    assert weight.shape == (3, 2)


def test_sizes_out_of_range():
    with pytest.raises(ValueError, match="num_embeddings=0 and embedding_dim=2 must be positive"):
        Embedding(0, 2)


def test_printed():
    assert str(Embedding(3, 2)) == "Embedding(num_embeddings=3, embedding_dim=2)"


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.uint8])
def test_ids_of_another_type(dtype):
    with pytest.raises(TypeError, match=f"token_ids are {dtype}; they must be int32 or int64"):
        Embedding(3, 2)(torch.zeros(4, dtype=dtype))
