import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import Lion
from torch import nn

shapes = st.lists(st.integers(0, 5), max_size=3)


@given(
    st.lists(shapes, min_size=1, max_size=4),
    st.integers(0, 1000),
    st.floats(1e-5, 1),
    st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
    st.floats(0, 1),
)
def test_equals_the_pseudo_code_of_the_paper(shapes, seed, lr, betas, decay):
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    weights = [nn.Parameter(draw(shape)) for shape in shapes]
    optimizer = Lion(weights, lr, betas, decay)
    thetas = [weight.detach().clone() for weight in weights]
    means = [torch.zeros(shape, dtype=torch.float64) for shape in shapes]
    for _ in range(4):
        for index, weight in enumerate(weights):
            g = draw(weight.shape)
            weight.grad = g
            # program 1 of the paper
            update = means[index] * betas[0] + g * (1 - betas[0])
            update = torch.sign(update) + thetas[index] * decay
            means[index] = means[index] * betas[1] + g * (1 - betas[1])
            thetas[index] = thetas[index] - update * lr
        optimizer.step()
    for weight, theta, mean in zip(weights, thetas, means, strict=True):
        torch.testing.assert_close(weight.data, theta)
        torch.testing.assert_close(optimizer.state[weight]["exp_avg"], mean)


def test_every_weight_with_a_direction_moves_by_lr():
    weight = nn.Parameter(torch.zeros(4))
    weight.grad = torch.tensor([1e-9, -5.0, 0.0, math.inf])
    Lion([weight], lr=0.5).step()
    assert weight.tolist() == [-0.5, 0.5, 0.0, -0.5]


def test_betas_out_of_range():
    with pytest.raises(ValueError, match=r"betas=\(0.9, 1\) must be two numbers"):
        Lion([nn.Parameter(torch.ones(1))], betas=(0.9, 1))
