import copy
import json
import re

import pytest
import torch
import torch.nn.functional as F
from tlm_optim import SGD, AdamW, Combined, Lion, Muon, muon_groups
from torch import nn


def small_model(dtype=None):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(11, 6), nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 8), nn.Linear(8, 3)
    ).to(dtype)


def parts(model, muon_lr=0.02):
    hidden, others = muon_groups(model, weight_decay=0.1)
    return Muon(hidden, lr=muon_lr), AdamW(others, lr=1e-2)


def train(model, optimizers, steps, start=0):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(11, (16,), generator=generator)
        y = torch.randint(3, (16,), generator=generator)
        model.zero_grad()
        F.cross_entropy(model(ids), y).backward()
        for optimizer in optimizers:
            optimizer.step()


def assert_equal_weights(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_equals_its_parts_apart():
    together, apart = small_model(), small_model()
    optimizer = Combined(*parts(together))
    assert isinstance(optimizer, torch.optim.Optimizer)
    train(together, [optimizer], 10)
    train(apart, parts(apart), 10)
    assert_equal_weights(together, apart)


def test_groups_and_state_are_those_of_the_parts():
    model = small_model()
    muon, adamw = parts(model)
    optimizer = Combined(muon, adamw)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.01, 0.01]
    train(model, [optimizer], 2)
    assert set(optimizer.state) == set(model.parameters())
    optimizer.param_groups[0]["lr"] = 0.5
    assert muon.param_groups[0]["lr"] == 0.5
    optimizer.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_part_that_has_made_steps_goes_on():
    together, apart = small_model(), small_model()
    for model in (together, apart):
        optimizers = parts(model)
        train(model, optimizers, 3)
        train(model, [Combined(*optimizers)] if model is together else optimizers, 3, start=3)
    assert_equal_weights(together, apart)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("through_json", [False, True])
def test_saved_and_loaded_goes_on_bit_for_bit(dtype, through_json):
    unbroken = small_model(dtype)
    train(unbroken, [Combined(*parts(unbroken))], 9)
    model = small_model(dtype)
    optimizer = Combined(*parts(model))
    train(model, [optimizer], 4)
    state = copy.deepcopy(optimizer.state_dict())
    if through_json:  # as tlm-train keeps the settings of groups
        state["param_groups"] = json.loads(json.dumps(state["param_groups"]))
    other = copy.deepcopy(model)
    resumed = Combined(*parts(other, muon_lr=1.0))
    resumed.load_state_dict(state)
    assert resumed.optimizers[0].param_groups[0] is resumed.param_groups[0]
    train(other, [resumed], 5, start=4)
    assert_equal_weights(other, unbroken)
    train(model, [optimizer], 5, start=4)
    assert_equal_weights(model, unbroken)


def test_a_copy_goes_on_alone():
    model = small_model()
    optimizer = Combined(*parts(model))
    train(model, [optimizer], 3)
    other, other_optimizer = copy.deepcopy((model, optimizer))
    before = copy.deepcopy(model)
    train(other, [other_optimizer], 3, start=3)
    assert_equal_weights(model, before)
    train(model, [optimizer], 3, start=3)
    assert_equal_weights(model, other)


def test_schedulers_of_torch_reach_every_part():
    model = small_model()
    optimizer = Combined(*parts(model))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    train(model, [optimizer], 1)
    scheduler.step()
    lrs = [group["lr"] for part in optimizer.optimizers for group in part.param_groups]
    assert lrs == [0.01, 0.005, 0.005]


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
def test_schedulers_that_would_cycle_momentum_are_told_not_to(name):
    model = small_model()
    optimizer = Combined(*parts(model))
    settings = {"OneCycleLR": {"max_lr": 0.1, "total_steps": 9}, "CyclicLR": {"base_lr": 0.01}}
    scheduler_class = getattr(torch.optim.lr_scheduler, name)
    settings = {"max_lr": 0.1, **settings[name]}
    with pytest.raises(ValueError, match="must support momentum"):
        scheduler_class(optimizer, **settings)
    scheduler = scheduler_class(optimizer, **settings, cycle_momentum=False)
    lr = optimizer.param_groups[0]["lr"]
    train(model, [optimizer], 1)
    scheduler.step()
    assert {group["lr"] > lr for group in optimizer.param_groups} == {True}


def test_a_part_is_saved_and_loaded_by_itself():
    unbroken, model = small_model(), small_model()
    train(unbroken, [Combined(*parts(unbroken))], 6)
    optimizer = Combined(*parts(model))
    train(model, [optimizer], 3)
    states = [copy.deepcopy(part.state_dict()) for part in optimizer.optimizers]
    other = copy.deepcopy(model)
    muon, adamw = parts(other, muon_lr=1.0)
    resumed = Combined(muon, adamw)
    for part, state in zip(resumed.optimizers, states, strict=True):
        part.load_state_dict(state)
    assert [group["lr"] for group in resumed.param_groups] == [0.02, 0.01, 0.01]
    resumed.param_groups[0]["lr"] = 0.5
    assert muon.param_groups[0]["lr"] == 0.5
    resumed.param_groups[0]["lr"] = 0.02
    train(other, [resumed], 3, start=3)
    assert_equal_weights(other, unbroken)
    assert set(resumed.state_dict()["state"]) == set(optimizer.state_dict()["state"])


def nested(model):
    muon, adamw = parts(model)
    sgd = SGD(adamw.param_groups.pop()["params"], lr=0.1, momentum=0.9)
    return Combined(Combined(muon, adamw), sgd)


def test_combined_may_be_combined():
    together, apart = small_model(), small_model()
    optimizer = nested(together)
    train(together, [optimizer], 4)
    muon_and_adamw, sgd = nested(apart).optimizers
    train(apart, [*muon_and_adamw.optimizers, sgd], 4)
    assert_equal_weights(together, apart)
    other = copy.deepcopy(together)
    resumed = nested(other)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(together, [optimizer], 3, start=4)
    train(other, [resumed], 3, start=4)
    assert_equal_weights(together, other)


def test_optimizers_of_torch_may_be_parts():
    model = small_model()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = Combined(torch.optim.AdamW(matrices), Lion(vectors))
    train(model, [optimizer], 3)
    other = copy.deepcopy(model)
    resumed = Combined(
        torch.optim.AdamW([p for p in other.parameters() if p.ndim == 2]),
        Lion([p for p in other.parameters() if p.ndim < 2]),
    )
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    train(model, [optimizer], 3, start=3)
    train(other, [resumed], 3, start=3)
    assert_equal_weights(model, other)


def test_closure_is_called_once():
    weights = [nn.Parameter(torch.tensor([2.0])) for _ in range(2)]
    optimizer = Combined(SGD(weights[:1], lr=0.1), SGD(weights[1:], lr=0.2))
    calls = []

    def closure():
        calls.append(1)
        optimizer.zero_grad()
        loss = weights[0] * weights[1]
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert len(calls) == 1
    torch.testing.assert_close([w.item() for w in weights], [1.8, 1.6])
    assert optimizer.step() is None


def test_a_state_that_one_part_refuses_leaves_all_as_they_were():
    unbroken, model = small_model(), small_model()
    train(unbroken, [Combined(*parts(unbroken))], 6)
    optimizer = Combined(*parts(model))
    train(model, [optimizer], 3)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 7.0
    state["param_groups"][1]["amsgrad"] = True
    with pytest.raises(ValueError, match="amsgrad=True: AdamW here has amsgrad=False only"):
        optimizer.load_state_dict(state)
    assert optimizer.optimizers[0].param_groups[0]["lr"] == 0.02
    train(model, [optimizer], 3, start=3)
    assert_equal_weights(model, unbroken)


def test_what_cannot_be_combined_is_refused():
    weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(ValueError, match="Combined takes two optimizers or more, not 1"):
        Combined(SGD([weight]))
    with pytest.raises(ValueError, match="some parameters appear in more than one of the opti"):
        Combined(SGD([weight]), AdamW([weight]))
    combined = Combined(SGD([weight]), AdamW([nn.Parameter(torch.ones(2))]))
    message = "a group cannot be added to Combined: add it to one of the optimizers"
    with pytest.raises(ValueError, match=re.escape(message)):
        combined.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
