import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from tlm_optim import SGD
from torch import nn


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 13), nn.LayerNorm(13), nn.GELU(), nn.Linear(13, 3))


def train(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(5, 7, generator=generator), torch.randn(5, 3, generator=generator)
        optimizer.zero_grad()
        F.mse_loss(model(x), y).backward()
        optimizer.step()


def assert_same_weights(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


SETTINGS = [
    {},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_equals_torch_where_the_decay_is_in_the_gradient(settings, decay):
    ours, theirs = small_model(), small_model()
    settings = {"lr": 0.05, "weight_decay": decay, **settings}
    train(ours, SGD(ours.parameters(), **settings, decoupled_weight_decay=False), 50)
    train(theirs, torch.optim.SGD(theirs.parameters(), **settings), 50)
    assert_same_weights(ours, theirs)


@given(
    st.lists(st.floats(-10, 10), min_size=1, max_size=20),
    st.floats(0, 1),
    st.sampled_from([0.0, 0.5, 0.99]),
    st.booleans(),
    st.floats(0, 1),
)
def test_equals_a_plain_loop(gradients, lr, momentum, nesterov, decay):
    nesterov = nesterov and momentum > 0
    theta, buffer = 1.5, 0.0
    weight = nn.Parameter(torch.tensor([1.5], dtype=torch.float64))
    optimizer = SGD([weight], lr, momentum, nesterov=nesterov, weight_decay=decay)
    for g in gradients:
        theta -= lr * decay * theta
        buffer = momentum * buffer + g
        theta -= lr * (g + momentum * buffer if nesterov else buffer)
        weight.grad = torch.tensor([g], dtype=torch.float64)
        optimizer.step()
    assert weight.item() == pytest.approx(theta, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("settings", SETTINGS)
def test_torch_goes_on_from_our_state(settings):
    ours = small_model()
    optimizer = SGD(ours.parameters(), lr=0.05, **settings)
    train(ours, optimizer, 10)
    theirs = copy.deepcopy(ours)
    their_optimizer = torch.optim.SGD(theirs.parameters())
    their_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(ours, optimizer, 10, start=10)
    train(theirs, their_optimizer, 10, start=10)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", [{"fused": True}, {"foreach": False}])
def test_we_go_on_from_the_state_of_torch(settings, kind):
    theirs = small_model()
    their_optimizer = torch.optim.SGD(theirs.parameters(), 0.05, weight_decay=0.3, **settings)
    train(theirs, their_optimizer, 10)
    ours = copy.deepcopy(theirs)
    optimizer = SGD(ours.parameters())
    optimizer.load_state_dict(copy.deepcopy(their_optimizer.state_dict()))
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is False
    train(ours, optimizer, 10, start=10)
    train(theirs, their_optimizer, 10, start=10)
    assert_same_weights(ours, theirs)


def test_without_momentum_there_is_no_state():
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    optimizer = SGD([weight], lr=0.1)
    optimizer.step()
    assert not optimizer.state_dict()["state"].get(0)


def test_momentum_may_begin_later():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = SGD([weight], lr=1.0)
    moved = []
    for momentum in (0.0, 0.5, 0.5):
        optimizer.param_groups[0]["momentum"] = momentum
        weight.grad = torch.ones(1)
        before = weight.item()
        optimizer.step()
        moved.append(before - weight.item())
    assert moved == [1.0, 1.0, 1.5]


def test_nesterov_needs_momentum():
    with pytest.raises(ValueError, match="nesterov=True needs a momentum above 0"):
        SGD([nn.Parameter(torch.ones(2))], nesterov=True)


def test_dampening_is_refused():
    weight = nn.Parameter(torch.ones(2))
    theirs = torch.optim.SGD([weight], momentum=0.9, dampening=0.5)
    with pytest.raises(ValueError, match=r"dampening=0.5: SGD here has dampening=0 only"):
        SGD([weight]).load_state_dict(theirs.state_dict())
