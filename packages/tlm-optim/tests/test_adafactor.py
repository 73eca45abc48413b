import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import Adafactor
from torch import nn

SHAPES = [(6, 4), (4, 6), (5,), (2, 3, 4), (), (3, 1)]
SETTINGS = [
    {},
    {"lr": 0.5, "weight_decay": 0.1},
    {"beta2_decay": -0.5, "eps": (1e-4, 1e-2), "d": 2.0},
]


def some_weights(shapes=SHAPES, dtype=torch.float32):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]


def walk(weights, optimizer, steps, first=0, size=1.0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for weight in weights:
            grad = size * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
            weight.grad = grad.to(weight.dtype)
        optimizer.step()


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e4])
def test_equals_torch(settings, foreach, size):
    ours, theirs = some_weights(), some_weights()
    walk(ours, Adafactor(ours, **settings), 20, size=size)
    walk(theirs, torch.optim.Adafactor(theirs, **settings, foreach=foreach), 20, size=size)
    torch.testing.assert_close(ours, theirs)


@given(
    st.lists(st.lists(st.integers(1, 5), max_size=3), min_size=1, max_size=4),
    st.integers(0, 1000),
    st.sampled_from(SETTINGS),
)
def test_equals_torch_in_shapes_of_all_kinds(shapes, seed, settings):
    ours, theirs = (some_weights(shapes, torch.float64) for _ in range(2))
    walk(ours, Adafactor(ours, **settings), 4, first=seed)
    walk(theirs, torch.optim.Adafactor(theirs, **settings), 4, first=seed)
    torch.testing.assert_close(ours, theirs)


def test_equals_the_pseudo_code_of_the_paper():
    """Algorithm 4 of the paper, with sums as there; its epsilon 1 is too small to matter."""
    rows, columns, eps1, eps2, d = 6, 4, 1e-30, 1e-3, 1.0
    weight = nn.Parameter(torch.randn(rows, columns, dtype=torch.float64))
    optimizer = Adafactor([weight], eps=(eps1, eps2), d=d)
    x = weight.detach().clone()
    r, c = torch.zeros(rows).double(), torch.zeros(columns).double()
    for t in range(1, 21):
        g = torch.randn(rows, columns, dtype=torch.float64)
        rho, beta2 = min(1e-2, 1 / t**0.5), 1 - t**-0.8
        alpha = max(eps2, x.square().mean().sqrt()) * rho
        r = beta2 * r + (1 - beta2) * (g**2 + eps1).sum(dim=1)
        c = beta2 * c + (1 - beta2) * (g**2 + eps1).sum(dim=0)
        u = g / torch.sqrt(torch.outer(r, c) / r.sum())
        x = x - alpha * u / max(1.0, u.square().mean().sqrt() / d)
        weight.grad = g
        optimizer.step()
    torch.testing.assert_close(weight.data, x, rtol=1e-6, atol=1e-9)


def test_the_state_of_a_matrix_is_rows_and_columns():
    weights = some_weights()
    optimizer, theirs = Adafactor(weights), torch.optim.Adafactor(copy.deepcopy(weights))
    walk(weights, optimizer, 1)
    walk(theirs.param_groups[0]["params"], theirs, 1)
    described = [
        [
            {name: (value.shape, value.dtype) for name, value in state.items()}
            for state in each.state_dict()["state"].values()
        ]
        for each in (optimizer, theirs)
    ]
    assert described[0] == described[1]


@pytest.mark.parametrize("ours_first", [True, False])
def test_states_pass_to_and_from_torch(ours_first):
    makers = [Adafactor, torch.optim.Adafactor][:: 1 if ours_first else -1]
    weights = some_weights()
    optimizer = makers[0](weights, lr=0.05, weight_decay=0.1)
    walk(weights, optimizer, 5)
    others = copy.deepcopy(weights)
    other = makers[1](others)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    walk(weights, optimizer, 5, first=5)
    walk(others, other, 5, first=5)
    torch.testing.assert_close(weights, others)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta2_decay": 0.8}, "beta2_decay=0.8 must be a finite number, not positive"),
        ({"d": 0.5}, "d=0.5 must be a number, at least 1"),
        ({"eps": (None, -1.0)}, "eps=(None, -1.0) must be two finite numbers, not negative"),
        ({"eps": (1e-3,)}, "eps=(0.001,) must be two finite numbers, not negative"),
        ({"eps": 1e-3}, "eps=0.001 must be two finite numbers, not negative"),
        ({"eps": {"a": 1, "b": 2}}, "eps={'a': 1, 'b': 2} must be two finite numbers, not neg"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Adafactor([nn.Parameter(torch.ones(2, 2))], **settings)
