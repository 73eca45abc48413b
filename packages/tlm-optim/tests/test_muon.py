import copy
import math
import re

import pytest
import torch
import torch.nn.functional as F
from tlm_optim import Muon
from torch import nn

needs_torch_muon = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="this torch has no Muon: it came with 2.9"
)
SHAPES = [(12, 12), (8, 20), (20, 8), (12, 12)]


def some_weights(shapes=SHAPES):
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in shapes]


def walk(weights, optimizer, steps, first=0):
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step)
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimizer.step()


def newton_schulz(matrix, steps=5):
    a, b, c = (3.4445, -4.7750, 2.0315)
    x = matrix / (matrix.norm() + 1e-7)
    x = x.T if matrix.size(0) > matrix.size(1) else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if matrix.size(0) > matrix.size(1) else x


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
def test_equals_the_pseudo_code_in_a_plain_loop(nesterov, adjust):
    lr, momentum, decay = 0.02, 0.9, 0.1
    weights = some_weights()
    optimizer = Muon(weights, lr, decay, momentum, nesterov=nesterov, adjust_lr_fn=adjust)
    thetas = [weight.detach().clone() for weight in weights]
    means = [torch.zeros_like(weight) for weight in weights]
    walk(weights, optimizer, 5)
    for step in range(5):
        generator = torch.Generator().manual_seed(step)
        for theta, mean in zip(thetas, means, strict=True):
            grad = torch.randn(theta.shape, generator=generator)
            mean.mul_(momentum).add_((1 - momentum) * grad)
            update = momentum * mean + (1 - momentum) * grad if nesterov else mean
            rows, columns = theta.shape
            scale = (
                0.2 * math.sqrt(max(rows, columns))
                if adjust == "match_rms_adamw"
                else max(1, rows / columns) ** 0.5
            )
            theta.mul_(1 - lr * decay).sub_(lr * scale * newton_schulz(update))
    for weight, theta in zip(weights, thetas, strict=True):
        torch.testing.assert_close(weight.data, theta, rtol=1e-3, atol=1e-4)


@needs_torch_muon
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"nesterov": False, "momentum": 0.5},
        {"adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.5, "ns_steps": 3},
    ],
)
def test_equals_torch_within_its_bfloat16(settings):
    ours, theirs = some_weights(), some_weights()
    walk(ours, Muon(ours, lr=0.02, **settings), 5)
    walk(theirs, torch.optim.Muon(theirs, lr=0.02, **settings), 5)
    for a, b, start in zip(ours, theirs, some_weights(), strict=True):
        moved, difference = (b - start).norm(), (a - b).norm()
        assert difference < 0.02 * moved
        assert moved > 0.1


@needs_torch_muon
@pytest.mark.parametrize("first, second", [("Muon", "theirs"), ("theirs", "Muon")])
def test_states_pass_to_and_from_torch(first, second):
    makers = {"Muon": Muon, "theirs": torch.optim.Muon}
    weights = some_weights()
    optimizer = makers[first](weights, lr=0.02, momentum=0.8, adjust_lr_fn="match_rms_adamw")
    walk(weights, optimizer, 5)
    others = copy.deepcopy(weights)
    other = makers[second](others)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert other.param_groups[0]["momentum"] == 0.8
    for a, b in zip(weights, others, strict=True):
        assert torch.equal(optimizer.state[a]["momentum_buffer"], other.state[b]["momentum_buffer"])
    before = [weight.detach().clone() for weight in weights]
    walk(weights, optimizer, 3, first=5)
    walk(others, other, 3, first=5)
    for a, b, start in zip(weights, others, before, strict=True):
        assert (a - b).norm() < 0.02 * (a - start).norm()


def test_a_stack_of_matrices_is_its_matrices():
    stack = nn.Parameter(torch.randn(3, 8, 5))
    apart = [nn.Parameter(matrix.clone()) for matrix in stack.detach()]
    for step in range(3):
        stack.grad = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(step))
        for matrix, grad in zip(apart, stack.grad, strict=True):
            matrix.grad = grad
        if step == 0:
            optimizers = [Muon([stack], lr=0.1), Muon(apart, lr=0.1)]
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(stack.data, torch.stack([matrix.data for matrix in apart]))


def test_updates_have_the_size_of_those_of_adamw():
    weight = nn.Parameter(torch.zeros(64, 256))
    weight.grad = torch.randn(64, 256)
    Muon([weight], lr=1.0, adjust_lr_fn="match_rms_adamw").step()
    # AdamW's are 0.2 to 0.4 (section 2.2 of arXiv:2502.16982)
    assert 0.15 < weight.detach().square().mean().sqrt() < 0.25


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 4, 4)])
def test_a_matrix_of_nothing_is_passed_through(shape):
    empty, full = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([empty, full], lr=0.1)
    empty.grad, full.grad = torch.ones(shape), torch.ones(2, 2)
    optimizer.step()
    assert empty.shape == shape
    assert not torch.equal(full, torch.ones(2, 2))


def test_it_learns():
    torch.manual_seed(0)
    model = nn.Linear(8, 8, bias=False)
    target = nn.init.orthogonal_(torch.empty(8, 8))
    optimizer = Muon(model.parameters(), lr=0.05, weight_decay=0.0)
    for _ in range(100):
        x = torch.randn(64, 8)
        loss = F.mse_loss(model(x), x @ target.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4, 5)])
def test_what_is_no_matrix_is_refused(shape):
    message = f"a parameter has the shape {shape}: give it to AdamW, as muon_groups does"
    with pytest.raises(ValueError, match=re.escape(message)):
        Muon([nn.Parameter(torch.ones(shape))])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum=1.0 must be a number, at least 0 and below 1"),
        ({"ns_steps": 0}, "ns_steps=0 must be a whole number, at least 1"),
        ({"ns_steps": 5.0}, "ns_steps=5.0 must be a whole number, at least 1"),
        ({"ns_steps": math.inf}, "ns_steps=inf must be a whole number, at least 1"),
        ({"ns_steps": "5"}, "ns_steps='5' must be a whole number, at least 1"),
        ({"ns_coefficients": (1.0, 2.0)}, "ns_coefficients=(1.0, 2.0) must be three finite numb"),
        ({"ns_coefficients": 3}, "ns_coefficients=3 must be three finite numbers"),
        ({"ns_coefficients": (1, "a", 2)}, "ns_coefficients=(1, 'a', 2) must be three finite num"),
        ({"adjust_lr_fn": "rms"}, "adjust_lr_fn='rms' must be one of None, 'original', 'match_rm"),
        ({"nesterov": "yes"}, "nesterov='yes' must be True or False"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Muon([nn.Parameter(torch.ones(2, 2))], **settings)
