import re

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_layers import cross_entropy


@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 20),
    st.sampled_from([1.0, 1000.0]),
    st.integers(0, 1000),
)
def test_equals_torch_with_its_gradient(leading, vocab_size, size, seed):
    generator = torch.Generator().manual_seed(seed)
    ours = size * torch.randn(*leading, vocab_size, generator=generator)
    theirs = ours.clone().requires_grad_()
    ours.requires_grad_()
    targets = torch.randint(vocab_size, leading, generator=generator)
    loss = cross_entropy(ours, targets)
    expected = F.cross_entropy(theirs.reshape(-1, vocab_size), targets.reshape(-1))
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_finite_where_exp_overflows():
    logits = torch.tensor([[1e5, -1e5, 0.0]])
    assert cross_entropy(logits, torch.tensor([0])).item() == 0.0
    assert cross_entropy(logits, torch.tensor([1])).item() == 2e5


def test_half_precision_is_computed_in_float32():
    logits = torch.randn(5, 100).to(torch.bfloat16)
    targets = torch.randint(100, (5,))
    assert cross_entropy(logits, targets).dtype == torch.float32
    assert torch.equal(cross_entropy(logits, targets), cross_entropy(logits.float(), targets))


def test_shapes_must_match():
    message = "targets of shape (3,) must match all axes but the last of logits of shape (2, 3, 5)"
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_entropy(torch.zeros(2, 3, 5), torch.zeros(3, dtype=torch.int64))


@pytest.mark.parametrize(("low", "high"), [(0, 5), (-100, 3)])
def test_targets_outside_the_vocabulary(low, high):
    message = f"targets go from {low} to {high}; they must be from 0 to 4 (vocab_size=5)"
    with pytest.raises(ValueError, match=re.escape(message)):
        cross_entropy(torch.zeros(2, 5), torch.tensor([low, high]))
