import json
import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import GradientNoiseScale, grad_norm
from torch import nn


def test_finds_a_known_covariance():
    """Per-sample gradients are drawn from a normal distribution with known G and Σ."""
    generator = torch.Generator().manual_seed(0)
    true_gradient = torch.linspace(-1, 1, 50)
    deviation = torch.linspace(0.5, 3.0, 50)
    expected = deviation.square().sum() / true_gradient.square().sum()
    estimate = GradientNoiseScale(decay=0.999)
    for _ in range(2000):
        noise = deviation * torch.randn(4, 8, 50, generator=generator)
        micro_batches = (true_gradient + noise).mean(dim=1)
        estimate.update(
            small_square=micro_batches.square().sum(dim=1).mean().item(),
            large_square=micro_batches.mean(dim=0).square().sum().item(),
            small_batch=8,
            large_batch=32,
        )
    assert estimate.gradient_square == pytest.approx(true_gradient.square().sum().item(), rel=0.05)
    assert estimate.noise == pytest.approx(deviation.square().sum().item(), rel=0.02)
    assert estimate.noise_scale == pytest.approx(expected.item(), rel=0.05)


def test_finds_the_noise_of_a_model_from_its_first_micro_batches():
    """Linear regression: at weight 0 the gradient of a sample is −2 y x, of known moments."""
    torch.manual_seed(0)
    model = nn.Linear(20, 1, bias=False)
    nn.init.zeros_(model.weight)
    target = torch.ones(20)
    estimate = GradientNoiseScale(decay=0.999)
    for _ in range(1500):
        model.zero_grad()
        for number in range(4):
            x = torch.randn(8, 20)
            loss = (model(x)[:, 0] - x @ target).square().mean()
            loss.backward()
            if number == 0:
                small = grad_norm(model.parameters()) ** 2
        large = (grad_norm(model.parameters()) / 4) ** 2
        estimate.update(small.item(), large.item(), small_batch=8, large_batch=32)
    # g = −2 (xᵀt) x with E g = −2 t and E |g|² = 4 (n + 2) |t|², for x of n standard normals
    square = 4 * 20
    noise = 4 * (20 + 2) * 20 - square
    assert estimate.gradient_square == pytest.approx(square, rel=0.1)
    assert estimate.noise_scale == pytest.approx(noise / square, rel=0.1)


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 10), st.integers(1, 10))
def test_without_chance_it_is_exact(gradient_square, noise, small, more):
    large = small + more
    estimate = GradientNoiseScale()
    for _ in range(3):
        estimate.update(
            gradient_square + noise / small, gradient_square + noise / large, small, large
        )
    assert estimate.gradient_square == pytest.approx(gradient_square, abs=1e-9)
    assert estimate.noise == pytest.approx(noise, abs=1e-9)


def test_the_averages_are_those_of_adam():
    estimate = GradientNoiseScale(decay=0.5)
    total = 0.0
    for step, square in enumerate([1.0, 5.0, 2.0], start=1):
        estimate.update(square, square, 1, 2)
        total = 0.5 * total + 0.5 * square
        assert estimate.gradient_square == pytest.approx(total / (1 - 0.5**step))


def test_edges():
    estimate = GradientNoiseScale()
    assert math.isnan(estimate.noise_scale)
    estimate.update(9.0, 1.0, 1, 2)  # |G|² comes out negative
    assert estimate.noise_scale == math.inf
    quiet = GradientNoiseScale()
    quiet.update(1.0, 2.0, 1, 2)
    assert quiet.noise_scale == 0.0


def test_saved_and_loaded_goes_on():
    estimate = GradientNoiseScale(0.9)
    estimate.update(5.0, 2.0, 1, 4)
    resumed = GradientNoiseScale(0.9)
    resumed.load_state_dict(json.loads(json.dumps(estimate.state_dict())))
    for each in (estimate, resumed):
        each.update(7.0, 3.0, 1, 4)
    assert resumed.state_dict() == estimate.state_dict()


@pytest.mark.parametrize(("small", "large"), [(0, 4), (4, 4), (5, 4)])
def test_two_batch_sizes_are_needed(small, large):
    message = f"small_batch={small} must be at least 1 and less than large_batch={large}"
    with pytest.raises(ValueError, match=re.escape(message)):
        GradientNoiseScale().update(1.0, 1.0, small, large)


def test_decay_out_of_range():
    with pytest.raises(ValueError, match="decay=1 must be at least 0 and below 1"):
        GradientNoiseScale(1)
